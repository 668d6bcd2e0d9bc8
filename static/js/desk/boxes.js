// Reads and writes the elements of the desk's pages: forms, their boxes (input fields), notices and
// reasons. A reason is a sentence about a rejected write, beside a box or for the whole form.
// Rules: desk/page.js decides when boxes are emptied. desk/form.js interprets the boxes and the
// API's answers.

/** @import {Outcome, Values} from './form.js' */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Box */

const NOTICE_MS = 10_000;
const UNDO_MS = 60_000;

/** @param {string} selector @param {ParentNode} [root] @returns {any} */
export const one = (selector, root = document) => root.querySelector(selector);
/** @type {HTMLElement} */
export const main = one('main');
export const { blog: slug = '', desk: editor = '' } = main.dataset;
export const newKey = () => crypto.getRandomValues(new Uint32Array(6)).join('');

/** Report that this page may be out of date; desk/page.js then loads the page again. */
export const stale = () => document.dispatchEvent(new Event('stale'));

// -- forms

/**
 * @param {HTMLFormElement} form
 * @returns {Values} when boxes share a name, the last one counts; of a byline, each one, in lines
 */
export function valuesOf(form) {
  const data = new FormData(form);
  const values = /** @type {Values} */ (Object.fromEntries(data));
  delete values.idempotency_key;
  if ('byline' in values) values.byline = data.getAll('byline').filter(Boolean).join('\n');
  return values;
}

/** @param {HTMLFormElement} form @param {string} name @returns {Box | null} */
export const boxOf = (form, name) => one(`[name="${name}"]:not([type=hidden])`, form);

/** @param {HTMLFormElement} form @param {string} name @param {string} text */
export function fillBox(form, name, text) {
  const names = text.split('\n');
  /** @type {NodeListOf<HTMLInputElement>} */
  const bylines = form.querySelectorAll(`[name="${name}"][name=byline]`);
  for (const [i, box] of bylines.entries()) box.value = names[i] ?? '';
  if (bylines.length) return;
  const box = boxOf(form, name);
  if (box instanceof HTMLInputElement && box.type === 'checkbox') box.checked = text === box.value;
  else if (box) box.value = text;
}

/** @param {HTMLFormElement} form @returns {HTMLInputElement} */
export const keyOf = (form) => one('[name=idempotency_key]', form);

/**
 * Show the sentences about a write: `fields` beside their boxes, `reason` for the whole form. Focus
 * the first box that the API rejected.
 *
 * @param {HTMLFormElement} form
 * @param {Outcome} outcome
 */
export function explain(form, { reason, fields }) {
  for (const line of /** @type {NodeListOf<HTMLElement>} */ (
    form.querySelectorAll('[data-reason]')
  )) {
    const name = line.dataset.reason ?? '';
    const text = name ? (fields[name] ?? '') : reason;
    line.hidden = !text;
    line.textContent = text;
    if (text && reason.startsWith('You are signed out'))
      line.append(' ', one('#sign-in-link').content.cloneNode(true));
    if (text) boxOf(form, name)?.setAttribute('aria-invalid', 'true');
    else if (name) boxOf(form, name)?.removeAttribute('aria-invalid');
  }
  const wrong = Object.keys(fields)
    .map((name) => boxOf(form, name))
    .find(Boolean);
  wrong?.focus();
}

/** @param {HTMLFormElement} form @param {boolean} isBusy */
export function setBusy(form, isBusy) {
  form.toggleAttribute('data-busy', isBusy);
  form.setAttribute('aria-busy', String(isBusy));
}

/**
 * Call `send` with the form's values when the editor submits the form. A submit during `send` is
 * ignored.
 *
 * @param {HTMLFormElement} form
 * @param {(values: Values) => Promise<void>} send
 */
export function onSubmit(form, send) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (form.hasAttribute('data-busy')) return;
    const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
    const pressed = button?.name ? { [button.name]: button.value } : {};
    setBusy(form, true);
    await send({ ...valuesOf(form), ...pressed }).finally(() => setBusy(form, false));
  });
}

// -- notices

/** @type {any} the timer that clears the notice */
let clearing;

/** @param {string} text @param {string} [undo] id of the entry whose deletion can be undone */
export function notify(text, undo) {
  const line = document.createElement('p');
  line.textContent = text;
  const parts = /** @type {Node[]} */ ([line]);
  if (undo) {
    const form = one('#undo').content.firstElementChild.cloneNode(true);
    form.action = form.getAttribute('action').replace('ID', undo);
    parts.push(form);
  }
  one('#notice').replaceChildren(...parts);
  clearTimeout(clearing);
  clearing = setTimeout(() => one('#notice').replaceChildren(), undo ? UNDO_MS : NOTICE_MS);
}

/** @type {Record<string, string>} */
export const NOTICES = {
  published: 'Published.',
  scheduled: 'Scheduled.',
  draft: 'Saved as a draft.',
  submitted: 'Submitted for approval.',
  retracted: 'Retracted.',
};
