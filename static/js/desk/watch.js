// The forms of this page whose texts are kept: each input goes to desk/keep.js, each press to
// desk/queue.js.
// Rules: a box is emptied only when its text is in the queue. Texts of other tabs are written and
// removed only when the editor names them.

import {
  boxOf,
  explain,
  fillForm,
  keyOf,
  newKey,
  one,
  piece,
  removeApart,
  say,
  setBusy,
  showApart,
  valuesOf,
  writtenIn,
} from './boxes.js';
import { dress } from './compose.js';
import { AHEAD } from './keep.js';
import {
  changed,
  early,
  hooks,
  keeper,
  note,
  openDesk,
  queue,
  records,
  scope,
  tabs,
} from './kept.js';
import { newTab } from './tabs.js';
import { alteredOf, isContained, isSame, ofKind, pick, textId, typedIn } from './texts.js';

/** @import {Kept, Offer, Text, Values} from './texts.js' */
/**
 * @typedef {object} Watched
 * @property {string} name the form's name in records: `new`, `header`, an entry's id
 * @property {string} tab '' stands for this tab
 * @property {Values} written the values that are stored, as the server wrote them
 * @property {Values} shown the values before this editor's changes: of the version that was edited
 * @property {boolean} isRejected the page shows the text again, but not the stored one
 * @property {boolean} isRestored false: what this tab kept before is not shown yet, nor replaced
 * @property {number} typed_at when the editor typed last; 0: nothing is typed
 * @property {string} sent the key under which the form was sent last
 * @property {Values} undecided while the form shows a conflict: what it was based on before. A kept
 *   text has this, so that it meets the conflict again
 * @property {Kept[]} apart former versions of this text that are kept beside it
 */

/** @type {Set<HTMLFormElement>} the forms that are, or were a moment ago, in the document */
const forms = new Set();
/** @type {WeakMap<HTMLFormElement, Watched>} also of forms that have left the document meanwhile */
const watched = new WeakMap();

hooks.kept = sayKept;
tabs.onrenew = () => {
  for (const it of forms) if (it.isConnected && !it.hasAttribute('data-busy')) keepForm(it);
};

/** Whether this browser stores texts. */
export let isKept = true;

/** Say in each form when this browser stores nothing. @param {boolean} [is] */
function sayKept(is = isKept) {
  isKept = is;
  for (const form of forms) {
    const line = one('.unkept', form);
    if (is) line?.remove();
    else if (!line) form.prepend(piece('unkept'));
  }
}

// -- forms

/**
 * Keep the texts of a form that is in the document.
 *
 * @param {HTMLFormElement} form @param {string} name @param {string} [tab] '' for this tab
 */
export function watch(form, name, tab = '') {
  for (const it of forms) if (!it.isConnected) forms.delete(it);
  forms.add(form);
  const isRejected = Boolean(one('[data-reason]:not([hidden])', form));
  const written = isRejected ? {} : writtenIn(form);
  watched.set(form, {
    name,
    tab,
    written,
    shown: { ...written },
    isRejected,
    isRestored: false,
    typed_at: 0,
    sent: '',
    undecided: {},
    apart: [],
  });
  keyOf(form).value = newKey(); // the server gives the forms of one header the same key
  sayKept();
  if (form.matches('.entry-form')) dress(form);
  if (isRejected) keepForm(form); // the page may be left before the storage is open
}

/** @param {any} form @returns {Watched | undefined} */
export const watchedOf = (form) => watched.get(form);

/**
 * Return the form that shows a text. A dialog that was just closed still has its form for a moment.
 *
 * @param {{form: string, tab: string}} text @returns {HTMLFormElement | undefined}
 */
export const formOf = ({ form: name, tab }) =>
  [...forms].find((form) => {
    const it = /** @type {Watched} */ (watched.get(form));
    const isShown = form.isConnected && !form.closest('dialog:not([open])');
    return isShown && it.name === name && (it.tab || tabs.id) === tab;
  });

/** @param {HTMLFormElement} form @param {Values} [sent] @returns {Omit<Text, 'typed_at'>} */
export function textIn(form, sent) {
  const { name, tab, shown, undecided } = /** @type {Watched} */ (watched.get(form));
  const values = sent ?? { ...valuesOf(form), ...undecided };
  const base = Number(values.revision) || null;
  return { form: name, tab: tab || tabs.id, values, shown, base, key: keyOf(form).value };
}

/** @param {HTMLFormElement} form */
export const isAltered = (form) => !isSame(valuesOf(form), watched.get(form)?.shown ?? {});

/** @param {Watched} state @returns {string} the note of a text until the records are open */
const notedAs = ({ name }) => `${AHEAD}${early} ${name}`;

/** Keep what a form shows; each input calls this. @param {any} form */
export function keepForm(form) {
  const state = watched.get(form);
  if (!state) return;
  if (!state.isRestored || !keeper) {
    const id = textId(scope, state.name, early);
    const text = { ...textIn(form), id, tab: early, typed_at: Date.now() };
    return note(notedAs(state), [[text], []]);
  }
  note(notedAs(state));
  if (isAltered(form)) state.typed_at = keeper.keep(textIn(form)).typed_at;
  else if (state.typed_at) {
    keeper.drop([{ ...textIn(form), typed_at: state.typed_at }]);
    state.typed_at = 0;
    keyOf(form).value = newKey(); // the next input is of another text
  }
}

/**
 * Return the text that this tab has kept of a form.
 *
 * @param {HTMLFormElement} form @returns {Promise<Offer | undefined>}
 */
export async function ownText(form) {
  await openDesk(); // an edit may be opened before
  const { form: name, tab } = textIn(form);
  return keeper.own(name, tab);
}

/**
 * Show what this tab kept of a form. From now on each input is kept.
 *
 * @param {HTMLFormElement} form @param {typeof placeText} show
 */
export async function restoreOwn(form, show) {
  const state = /** @type {Watched} */ (watched.get(form));
  const text = await ownText(form);
  if (text) return takeOver(form, text, say('early'), show);
  state.isRestored = true;
  keepForm(form);
}

/**
 * Show another text of a form, and keep the one that the editor typed there before apart.
 *
 * @param {HTMLFormElement} form @param {Offer} text
 * @param {string} reason why that is apart @param {typeof placeText} show
 */
export async function takeOver(form, text, reason, show = placeText) {
  const tab = newTab();
  let kept = text.values;
  while (isAltered(form) && !isSame(kept, valuesOf(form))) {
    kept = valuesOf(form); // the editor may type until it is kept
    await keepApart(form, reason, tab);
  }
  await show(form, text);
}

/**
 * Show a text in a form, and keep it as the text of this form. The text that the editor typed there
 * before becomes a text of its own. Boxes that the editor left as they were keep the values of
 * today. A text with words that have no box here also stays as it is.
 *
 * @param {HTMLFormElement} form @param {Offer} offer
 */
export async function placeText(form, offer) {
  const state = /** @type {Watched} */ (watched.get(form));
  state.isRestored = true;
  keeper.see(offer.typed_at);
  const { form: name, tab } = textIn(form);
  const isOwn = offer.form === name && offer.tab === tab;
  const homeless = typedIn(offer).filter(([box]) => !boxOf(form, box));
  const was = valuesOf(form);
  const before = isOwn ? homeless.length && offer : await ownText(form);
  const puts = before ? [keeper.record({ ...before, tab: newTab() })] : [];
  if (!isSame(valuesOf(form), was)) // typed meanwhile
    puts.push(keeper.record({ ...textIn(form), tab: newTab(), key: newKey() }));
  showIn(form, state, offer);
  showApart(form, homeless);
  state.typed_at = offer.typed_at;
  if (isOwn && offer.id && !before) {
    note(notedAs(state));
    keeper.copyLater(offer);
    return changed();
  }
  if (isAltered(form)) puts.push(keeper.record(textIn(form)));
  state.typed_at = puts.at(-1)?.typed_at ?? state.typed_at;
  const moved = isOwn || homeless.length ? [] : [offer];
  await keeper.drop(moved, puts, moved.flatMap(idsOf));
  keepForm(form);
  changed();
}

/** Return the id of a text that this browser has. @param {Offer} offer */
export const idsOf = ({ id }) => (id ? [id] : []);

/** @param {HTMLFormElement} form @param {Watched} state @param {Offer} offer */
function showIn(form, state, { values, shown, base, key, reason, boxes }) {
  // A byline that stays from entry to entry counts as unaltered, but belongs to the text.
  const altered = state.name === 'new' ? { ...values } : alteredOf(values, shown);
  if (values.zone && altered.publish_at) altered.zone = values.zone; // in which it was typed
  else delete altered.zone;
  const revision = base ? { revision: `${base}` } : null; // the server compares it
  fillForm(form, { ...state.shown, ...altered, ...revision });
  for (const name of Object.keys(altered))
    state.shown[name] = values[`${name}_was`] ?? shown?.[name] ?? state.shown[name];
  keyOf(form).value = key;
  explain(form, reason ?? '', boxes);
}

/**
 * Keep a copy of a form's text apart, until it is stored or discarded by name.
 *
 * @param {HTMLFormElement} form @param {string} reason
 */
export async function keepApart(form, reason, tab = newTab()) {
  const state = /** @type {Watched} */ (watched.get(form));
  const copy = keeper.record({ ...textIn(form), tab, key: newKey(), reason });
  const { form: name, values } = copy;
  // A form that was closed and opened again meets its conflict again.
  const living = await tabs.living();
  const isTwin = (/** @type {Kept} */ it) =>
    it.form === name &&
    it.reason === reason &&
    (tabs.holds(it.tab) || !living.has(it.tab)) &&
    isSame(values, it.values);
  state.apart.push(...ofKind(await records.all(), 'text').filter(isTwin));
  await forgetContained(form, copy.values, [copy]);
  state.apart.push(copy);
}

/**
 * Forget the former versions of a form's text of which each word is in `values`.
 *
 * @param {HTMLFormElement} form @param {Values} values that are stored, or kept
 * @param {Kept[]} [puts]
 */
export async function forgetContained(form, values, puts = []) {
  const state = /** @type {Watched} */ (watched.get(form));
  const contained = state.apart.filter((it) => isContained(it, values));
  state.apart = state.apart.filter((it) => !contained.includes(it));
  if (contained.length || puts.length) await keeper.drop(contained, puts);
  changed();
}

/**
 * @param {HTMLFormElement} form @param {Values} shown the values that are stored now
 * @param {Values} [undecided]
 */
export function rebase(form, shown, undecided = {}) {
  const state = /** @type {Watched} */ (watched.get(form));
  const hidden = Object.keys(shown).filter((name) => /^revision$|_was$/.test(name));
  fillForm(form, pick(shown, hidden));
  Object.assign(state, { written: shown, shown: { ...shown }, undecided });
  keepForm(form);
}

// -- sending

/**
 * Send what a form shows. A form for new entries is free at once.
 *
 * @param {HTMLFormElement} form @param {HTMLElement | null} pressed the button
 */
export async function press(form, pressed) {
  const state = /** @type {Watched} */ (watched.get(form));
  const values = valuesOf(form, pressed);
  if (state.name === 'new' && !isAltered(form)) return explain(form, say('empty'));
  const text = textIn(form, values);
  const item = keeper.press(text, new URL(form.action).pathname, state.typed_at);
  explain(form, '');
  keeper.stop(state.name, text.tab);
  const added = queue.add(item, [textId(scope, state.name, text.tab)]);
  Object.assign(state, { typed_at: 0, sent: text.key });
  keyOf(form).value = newKey(); // for what is typed from now on
  if (state.name !== 'new') setBusy(form, true);
  else if (state.tab) removeApart(form);
  else clear(form, state);
  await added;
}

/**
 * Empty the boxes of the form for new entries. The byline stays, because the next entry usually has
 * the same authors.
 *
 * @param {HTMLFormElement} form @param {Watched} state
 */
function clear(form, state) {
  const names = Object.keys(valuesOf(form)).filter(
    (name) => name !== 'byline' && boxOf(form, name),
  );
  const { zone = valuesOf(form).zone ?? '' } = state.written;
  fillForm(form, { ...Object.fromEntries(names.map((name) => [name, ''])), zone });
  state.shown = valuesOf(form);
  boxOf(form, 'body')?.focus();
}
