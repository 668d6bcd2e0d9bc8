// The lists of texts that are not stored: those left over from closed tabs, crashes and other
// machines, and those that are being sent.
// Rules: a text disappears only when it is stored, or when the editor discards it here.

import { formCopy, explain, main, one, piece, say, sayFailure, slug } from './boxes.js';
import { discard, isStored } from './discard.js';
import { edit, showText } from './edit.js';
import { newTab } from './tabs.js';
import { editedBy, leftOver, pick, wordsOf } from './texts.js';
import { changed, keeper, queue, records, tabs } from './kept.js';
import { formOf, isAltered, takeOver, watch, watchedOf } from './watch.js';

/** @import {Offer, Sent, Text} from './texts.js' */

/** @type {HTMLFormElement | null} */
const compose = one('#compose');
/** The form for new entries as the server wrote it. */
const blank = /** @type {HTMLFormElement | null} */ (compose?.cloneNode(true) ?? null);
if (blank) explain(blank, '');
// The page after a form that was rejected without scripts has the rejected text.
for (const box of blank?.querySelectorAll('.box > [name]:not([type=hidden])') ?? []) {
  if (box.matches('[type=checkbox]')) box.removeAttribute('checked');
  else /** @type {HTMLInputElement} */ (box).defaultValue = '';
}
/** @type {Text[]} */
let copies = [];
let turns = 0;
/** What the list shows. */
let listed = '';

/** @param {number} at ms since 1970 */
function timeOf(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const dateStyle = isToday ? undefined : 'medium';
  return date.toLocaleString('en-GB', { timeStyle: 'short', dateStyle });
}

/** @param {Text} text @returns {string} the kind of its form, in words */
const kindOfForm = (text) =>
  say(`form-${text.form.replace(/-.*/, '')}`) ||
  [say('form-edit'), editedBy(text)].filter(Boolean).join(': ');

// -- texts that are left over

/** Ask the server for copies, then show what is left over. */
export async function findOffers() {
  if (!one('#offers')) return;
  copies = slug ? await keeper.copies() : [];
  for (const copy of copies) {
    const form = formOf(copy);
    if (form) await takeOver(form, copy, say('later'));
  }
  copies = copies.filter((it) => !formOf(it));
  await showOffers();
}

export async function showOffers() {
  const section = one('#offers');
  if (!section) return;
  const turn = ++turns;
  const living = await tabs.living();
  const isInUse = (/** @type {string} */ form, /** @type {string} */ tab) =>
    tabs.holds(tab) ? Boolean(formOf({ form, tab })) : living.has(tab);
  const offers = leftOver(await records.all(), copies, isInUse).filter(hasPlace);
  if (turn !== turns) return; // a later call knows more
  section.hidden = !offers.length;
  const now = offers.map((it) => [it.id, it.form, it.tab, it.typed_at, it.reason]).join();
  if (now === listed) return; // an editor may be at a button, or pressing it
  listed = now;
  one('ul', section).replaceChildren(...offers.map(offerOf));
}

/** Whether this page has a form for a text. @param {Offer} offer */
const hasPlace = ({ form }) =>
  compose || form === 'blog' || form.endsWith(one('#edit')?.dataset.entry);

/**
 * Return a line of a list, with the first words of its text.
 *
 * @param {string} template @param {string} status @param {Text} text
 * @param {Record<string, () => void>} acts by the names of the buttons
 */
function lineOf(template, status, text, acts) {
  const line = piece(template);
  one('.status', line).textContent = status;
  const words = (one('.words', line).textContent = wordsOf(text) || say('wordless'));
  for (const [name, act] of Object.entries(acts)) {
    const button = one(`[data-act=${name}]`, line);
    button.ariaLabel = `${button.textContent}: ${words}`;
    button.addEventListener('click', act);
  }
  return line;
}

/** @param {Offer} offer */
function offerOf(offer) {
  const place = offer.id ? '' : say('elsewhere');
  const parts = [`Unsent text from ${timeOf(offer.typed_at)}`, kindOfForm(offer), place];
  const status = [...parts, offer.reason].filter(Boolean).join(' · ');
  return lineOf('offer', status, offer, {
    restore: () => restore(offer),
    discard: () => discard(offer),
  });
}

/** The last text that is being restored: each moves others. */
let restoring = Promise.resolve();

/** Show a text in its form again, after the texts before it. @param {Offer} offer */
export const restore = (offer) =>
  (restoring = restoring
    .then(async () => ((await isStored(offer)) ? showOffered(offer) : changed()))
    .catch(sayFailure));

/** @param {Offer} offer */
async function showOffered(offer) {
  const { form: name } = offer;
  const tab = tabs.id;
  // When coverage has ended, the header's form has the boxes of the form that ends it.
  const form =
    name === 'new'
      ? compose
      : (formOf({ form: name, tab }) ?? (name === 'end' && formOf({ form: 'header', tab })));
  if (form && !(name === 'new' && isAltered(form))) {
    await showText(form, offer);
    one('textarea, input:not([type=hidden])', form)?.focus();
  } else if (name === 'new') await openApart(offer);
  else if ((await edit(`/desk/blogs/${slug}/entries/${name.replace(/^.*-/, '')}`, offer)) === 410)
    await openDeleted(offer);
}

/**
 * Open the text of a deleted entry as one of a new entry, with the boxes that were not altered.
 *
 * @param {Offer} offer
 */
export async function openDeleted(offer) {
  const names = Object.keys(offer.values).filter((name) => !name.endsWith('_was'));
  const form = await openApart({
    ...offer,
    values: pick(offer.values, names),
    shown: { note: offer.shown?.note ?? '' }, // a new entry has no note: only a typed one is kept
    reason: say('deleted'),
  });
  one('[name=body]', form ?? main).focus();
}

/**
 * Open a text as a form of its own, beside the form for new entries.
 *
 * @param {Offer} offer
 */
export async function openApart(offer) {
  if (!blank) return;
  const tab = offer.id && !tabs.holds(offer.tab) ? offer.tab : newTab();
  if (!(await tabs.hold(tab))) return void showOffers(); // another tab has just opened it
  const section = piece('apart-form');
  const form = formCopy(blank, `apart-${tab}`);
  section.append(form);
  one('#apart').append(section);
  watch(form, 'new', tab);
  await showText(form, offer);
  return form;
}

// -- texts that are being sent

/** @param {Sent} item @param {Sent | undefined} now the one that is being sent */
function stateOf(item, now) {
  const { held, values } = item;
  if (held) return held;
  if (item.key === now?.key)
    return say(values.status === 'published' && !values.publish_at ? 'publishing' : 'saving');
  if (!navigator.onLine) return say('offline');
  return item.tries ? `${item.why} ${say('unanswered')}` : say('waiting');
}

/** @type {Map<string, HTMLElement>} the lines of the queue: an editor may be pressing a button */
const cards = new Map();

/** Show what is being sent, in order. @param {Sent[]} items @param {Sent} [now] */
export function showQueue(items, now) {
  const section = one('#queue');
  if (!section) return;
  section.hidden = !items.length;
  const list = one('ol', section);
  const lines = items.map((item) => {
    const line = cards.get(item.id.join()) ?? cardOf(item);
    cards.set(item.id.join(), line);
    const status = [timeOf(item.pressed_at), kindOfForm(item), stateOf(item, now)];
    one('.status', line).textContent = status.join(' · ');
    return line;
  });
  for (const [id, line] of cards) {
    if (lines.includes(line)) continue;
    cards.delete(id);
    line.remove();
  }
  lines.forEach((line, i) => {
    if (list.children[i] !== line) list.insertBefore(line, list.children[i] ?? null);
  });
}

/** @param {Sent} item */
const cardOf = (item) =>
  lineOf('card', '', item, {
    press: () => queue.press(item),
    back: () => takeBack(item),
  });

/** @param {Sent} item */
async function takeBack(item) {
  const form = formOf(item);
  const text = await queue.takeBack(item);
  if (form && item.form !== 'new' && watchedOf(form)) {
    form.removeAttribute('data-busy');
    explain(form, '');
  }
  await restore(text);
}
