// Editing an entry, in a dialog or on the entry's own page. Unsaved text survives a crash, and no
// editor overwrites another editor's words without seeing them.
// Rules: the server renders the form.

import { boxOf, explain, main, notify, one, piece, say, slug, valuesOf } from './boxes.js';
import { askStore } from './condition.js';
import { discardText } from './discard.js';
import { ask } from './send.js';
import { askForSession, returnQuestions } from './signing.js';
import { newTab } from './tabs.js';
import { placeText, restoreOwn, watch } from './watch.js';
import { answerOf } from '../answer.js';
import { parseHtml } from '../morph.js';

/** @import {Offer} from './texts.js' */

/** @type {HTMLDialogElement | null} */
export const dialog = one('#editing');

/** How often an edit was opened. */
let edits = 0;

/**
 * Open the dialog that edits an entry, with its unsaved text.
 *
 * @param {string} url of the entry's page on the desk @param {Offer} [offer] the text to show
 *   instead
 * @returns {Promise<number>} the status of the page's answer; 0 without an answer
 */
export async function edit(url, offer) {
  const turn = ++edits;
  const { status, text, redirected } = await answerOf(window, url);
  if (turn !== edits || dialog?.open) return status; // an editor may be writing there
  const panel = parseHtml(text).querySelector('#edit-panel');
  if (dialog && status === 200 && panel) {
    returnQuestions();
    dialog.replaceChildren(panel);
    if (!dialog.open) dialog.showModal();
    dialog.dataset.shown = '';
    await setUpEdit(offer);
    return status;
  }
  if (status === 503) askStore();
  if (redirected) askForSession(); // the page of the sign-in
  else if (status !== 410) notify(say('unloaded'));
  else if (!offer) notify(say('deleted'));
  return status;
}

/** Keep the forms that edit and retract an entry, and show their texts. @param {Offer} [offer] */
export async function setUpEdit(offer) {
  const form = /** @type {HTMLFormElement | null} */ (one('#edit'));
  const retract = /** @type {HTMLFormElement | null} */ (one('#retract'));
  const { entry: id } = form?.dataset ?? {};
  if (!form) return;
  const body = /** @type {any} */ (boxOf(form, 'body'));
  // On the entry's own page, the editor may be in another box by now.
  if (body && (dialog?.open || document.activeElement === document.body)) {
    body.focus();
    body.setSelectionRange(body.value.length, body.value.length);
  }
  await showOwn(form, id ?? 'new', id ? '' : newTab(), offer);
  if (retract) await showOwn(retract, `retract-${id}`, '', offer);
}

/**
 * Keep a form's text, and show the one that is kept or offered.
 *
 * @param {HTMLFormElement} form @param {string} name @param {string} tab @param {Offer} [offer]
 */
async function showOwn(form, name, tab, offer) {
  watch(form, name, tab);
  if (offer?.form === name) await showText(form, offer);
  else await restoreOwn(form, showText);
}

/**
 * Show a text in its form, with a button that discards it.
 *
 * @param {HTMLFormElement} form @param {Offer} text
 */
export async function showText(form, text) {
  for (let it = form.closest('details'); it; it = null) it.open = true;
  await placeText(form, { ...text, reason: text.reason || say('restored') });
  const button = piece('discard');
  button.addEventListener('click', () => discardText(form));
  const line = one('[data-reason=""]', form);
  line.classList.toggle('quiet', !text.reason);
  line.append(' ', button);
}

/** Close the dialog; its text stays kept. */
export function closeEdit() {
  if (dialog?.open) dialog.close();
  else if (one('#edit')) location.assign(`/desk/blogs/${slug}`);
}

/** Say in the dialog that someone has deleted its entry, or changed it. Runs every second. */
export function lookAtEntry() {
  const form = /** @type {HTMLFormElement | null} */ (dialog?.open ? one('#edit', dialog) : null);
  const { entry: id } = form?.dataset ?? {};
  if (!form || !dialog || !id || form.hasAttribute('data-busy')) return;
  const article = document.getElementById(id);
  if (!article && dialog.dataset.shown === id) void askWhyGone(form);
  dialog.dataset.shown = article ? id : ''; // the entry that the feed has shown
  const isOlder = Number(article?.dataset.revision) > Number(valuesOf(form).revision);
  if (isOlder && !one('[data-reason=""]', form).textContent) explain(form, say('newer'));
}

/** The entry was deleted, or the feed got shorter. @param {HTMLFormElement} form */
async function askWhyGone(form) {
  const { status } = await ask(form.action, {}, '');
  if (status === 410) explain(form, say('deleted'));
}

/** @param {MouseEvent} event */
function onClick(event) {
  const link = /** @type {Element} */ (event.target).closest('[data-do=edit], [data-close]');
  const isPlain = !(event.metaKey || event.ctrlKey || event.shiftKey);
  if (!link || !isPlain || !dialog) return;
  event.preventDefault();
  if (link.matches('[data-close]')) dialog.close();
  else edit(/** @type {HTMLAnchorElement} */ (link).href);
}

/** @param {() => void} onclose */
export function setUpDialog(onclose) {
  if (!dialog || !main) return;
  document.addEventListener('click', onClick);
  dialog.addEventListener('close', () => {
    returnQuestions();
    dialog.replaceChildren();
    // Chromium's caret was in the removed form: without this, the focused box takes no letters.
    const box = /** @type {any} */ (document.activeElement);
    if (box?.selectionStart != null) box.setSelectionRange(box.selectionStart, box.selectionEnd);
    onclose();
  });
}
