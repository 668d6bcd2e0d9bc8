// Editing an entry in a dialog. Unsaved text survives a crash, and no editor overwrites another
// editor's words without seeing them.
// Rules: the server renders the form; both editors' words are shown as text, never as markup.

import { dress } from './compose.js';
import { alteredOf, entryFields, merge, outcomeOf, TEXTS, textOf } from './form.js';
import {
  boxOf,
  explain,
  keyOf,
  newKey,
  onSubmit,
  one,
  NOTICES,
  notify,
  stale,
  valuesOf,
  fillBox,
} from './boxes.js';
import { askStore, call } from './send.js';
import { drop, keep, kept } from './unsent.js';
import { parseHtml } from '../morph.js';

/** @import {Entry, Values} from './form.js' */

/** @type {HTMLDialogElement} */
export const dialog = one('#editing');
/**
 * The entry's values in the store. Only boxes whose values differ from these are sent.
 *
 * @type {Values}
 */
let base = {};

/** Open the dialog that edits an entry. @param {string} url of the entry's page on the desk */
export async function edit(url) {
  const answer = await fetch(url).catch(() => null);
  const panel = parseHtml((await answer?.text()) ?? '').querySelector('#edit-panel');
  if (!answer?.ok || !panel) {
    if (answer?.status === 503) askStore();
    return notify(
      answer?.status === 410
        ? 'Someone deleted this entry.'
        : 'The entry cannot be loaded now. Try again.',
    );
  }
  dialog.replaceChildren(panel);
  const form = /** @type {HTMLFormElement} */ (one('#edit', dialog));
  base = valuesOf(form);
  restore(form);
  onSubmit(form, (values) => save(form, values));
  dialog.showModal();
  dress(form);
  boxOf(form, 'body')?.focus();
}

/**
 * Restore unsaved text, and the revision on which the text is based. When the store has a newer
 * revision by now, the next save shows both versions.
 *
 * @param {HTMLFormElement} form
 */
function restore(form) {
  const { entry: id = '' } = form.dataset;
  const found = kept(id);
  if (!found) return;
  for (const [name, text] of Object.entries(found.values)) fillBox(form, name, text);
  one('[name=revision]', form).value = found.values.revision ?? '';
  keyOf(form).value = found.key;
  const reason = 'Your unsaved text was restored.';
  explain(form, { kind: 'done', reason, fields: {} });
  const discard = one('#discard').content.firstElementChild.cloneNode(true);
  one('[data-reason=""]', form).append(' ', discard);
  discard.addEventListener('click', () => {
    drop(id);
    dialog.close();
    edit(form.action);
  });
}

/** @param {HTMLFormElement} form @param {Values} values */
async function save(form, values) {
  const { entry: id } = form.dataset;
  const { revision, ...altered } = { ...alteredOf(values, base), revision: values.revision };
  const fields = entryFields(altered, form.dataset.zone ?? 'UTC');
  if (id && !Object.keys(fields).length) return finish('No changes.');
  const key = { 'Idempotency-Key': keyOf(form).value };
  const { outcome, content } = id
    ? await call('PATCH', `/entries/${id}`, fields, { ...key, 'If-Match': `"${revision}"` })
    : await call('POST', '/entries', newEntry(values, form), key);
  if (outcome.kind === 'done') {
    drop(id ?? form.dataset.was ?? '');
    const isMoved = !id || 'status' in fields || 'publish_at' in fields;
    return finish(isMoved ? NOTICES[content.status] : 'Saved.');
  }
  if (outcome.kind !== 'unknown') keyOf(form).value = newKey();
  explain(form, outcome);
  if (outcome.kind === 'conflict') compare(form, values, content.current);
  if (outcome.kind === 'gone') orphan(form);
}

/**
 * Return the fields of a new entry: no empty ones, and no note, which explains an edit to readers.
 *
 * @param {Values} values @param {HTMLFormElement} form
 */
function newEntry(values, form) {
  const all = Object.entries(entryFields(values, form.dataset.zone ?? 'UTC'));
  const left = ['note_kind', 'note'];
  return Object.fromEntries(all.filter(([name, value]) => value !== null && !left.includes(name)));
}

/** @param {string} text */
function finish(text) {
  dialog.close();
  notify(text);
  stale();
}

/**
 * Show both texts of each box that both editors changed. A box that only the other editor changed
 * gets the other editor's text.
 *
 * @param {HTMLFormElement} form
 * @param {Values} values
 * @param {Entry} theirs
 */
function compare(form, values, theirs) {
  const { taken, both } = merge(values, base, theirs);
  for (const name of Object.keys(TEXTS)) alone(form, name);
  for (const [name, text] of Object.entries(taken)) fillBox(form, name, text);
  for (const { name, theirs: text } of both) beside(form, name, text);
  for (const name of Object.keys(TEXTS)) base[name] = textOf(theirs[/** @type {'body'} */ (name)]);
  one('[name=revision]', form).value = String(theirs.revision);
  const what = both.length
    ? 'Both versions are shown. Merge them or choose one, then save.'
    : 'Their changes are in other fields and are now included here. Save again to save yours.';
  const reason = `Someone saved this entry while you were editing it. ${what}`;
  explain(form, { kind: 'conflict', reason, fields: {} });
  (both[0] ? boxOf(form, both[0].name) : one('button.primary', form))?.focus();
}

/**
 * Show the other editor's text beside a box.
 *
 * @param {HTMLFormElement} form @param {keyof typeof TEXTS} name @param {string} text
 */
function beside(form, name, text) {
  const mine = boxOf(form, name);
  const part = one('#theirs').content.firstElementChild.cloneNode(true);
  const box = one('textarea', part);
  box.value = text;
  box.rows = name === 'body' ? 6 : 2;
  box.setAttribute('aria-label', `${TEXTS[name]}, their version`);
  one('button', part).addEventListener('click', () => {
    fillBox(form, name, text);
    alone(form, name);
    mine?.focus();
  });
  const both = document.createElement('div');
  both.className = 'both';
  const wrapped = mine?.closest('.box');
  wrapped?.replaceWith(both);
  both.append(wrapped ?? '', part);
}

/**
 * Remove the other editor's text from beside a box.
 *
 * @param {HTMLFormElement} form @param {string} name of the box
 */
function alone(form, name) {
  const box = boxOf(form, name)?.closest('.box');
  if (box) box.closest('.both')?.replaceWith(box);
}

/**
 * Let the form of a deleted entry publish its text as a new entry.
 *
 * @param {HTMLFormElement} form
 */
function orphan(form) {
  if (!form.dataset.entry) return;
  form.dataset.was = form.dataset.entry;
  delete form.dataset.entry;
  one('button.primary', form).textContent = 'Publish as a new entry';
  for (const button of form.querySelectorAll('button[name=status]')) button.remove();
  while (form.nextElementSibling) form.nextElementSibling.remove();
}

/**
 * Save the dialog's unsent text in the browser, and warn when someone has changed or deleted the
 * entry. Runs every second.
 */
export function watchEdit() {
  const form = /** @type {HTMLFormElement | null} */ (dialog.open ? one('#edit', dialog) : null);
  const { entry: id } = form?.dataset ?? {};
  if (!form || !id) return;
  const values = valuesOf(form);
  if (Object.keys(alteredOf(values, base)).length) keep(id, form);
  const article = document.getElementById(id);
  const wasThere = dialog.dataset.shown === id;
  if (article) dialog.dataset.shown = id;
  if (!article && wasThere) {
    explain(form, outcomeOf(410, {}));
    orphan(form);
  } else if (Number(article?.dataset.revision) > Number(values.revision)) {
    const reason = 'Someone has just saved this entry. When you save, you will see both versions.';
    if (!one('[data-reason=""]', form).textContent)
      explain(form, { kind: 'conflict', reason, fields: {} });
  }
}
