// The actions of all forms of the desk: call the API, show the result, save unsent text in the
// browser.
// Rules: this module empties no box; form.js decides what boxes and answers mean.

import { isEmpty, isStoreDown, keptOf, outcomeOf } from './form.js';

/** @import {Outcome, Values} from './form.js' */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Box */
/** @typedef {{outcome: Outcome, content: any}} Answer */

const ANSWER_MS = 20_000;
export const STORE_MS = 3_000;
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

// -- the API

/**
 * @param {string} method
 * @param {string} path below the blog's own
 * @param {Record<string, unknown> | null} fields
 * @param {Record<string, string>} [headers]
 * @returns {Promise<Answer>}
 */
export async function call(method, path, fields, headers = {}) {
  const init = { method, signal: AbortSignal.timeout(ANSWER_MS), headers: new Headers(headers) };
  if (fields) init.headers.set('Content-Type', 'application/json');
  const body = fields && JSON.stringify(fields);
  try {
    const answer = await fetch(`/api/blogs/${slug}${path}`, { ...init, body });
    const content = await answer.json().catch(() => ({}));
    const wait_s = Number(answer.headers.get('Retry-After'));
    const isDown = isStoreDown(content);
    if (isDown || answer.ok) showStore(isDown ? 'down' : 'up');
    return { outcome: outcomeOf(answer.status, content, wait_s), content };
  } catch {
    return { outcome: outcomeOf(0, {}), content: {} };
  }
}

/** @type {Record<string, string>} */
const STORE = {
  up: '',
  down: 'Publishing is unavailable right now. Your text is safe here.',
  lacks:
    'The store no longer has this blog: it was emptied or replaced. Readers keep the last version.' +
    ' Publishing is unavailable until the blog is back.',
  older:
    'The store came back with an older version of this blog, so the latest entries may be missing.' +
    ' Readers see the same as this page. Publish again what is still needed.',
};
let store = 'up';

/**
 * Show the state of the store. The warning "older" stays until the page is reloaded.
 *
 * @param {string} state a key of STORE, or "unheld": the store answers, but the worker that was
 *   asked has not loaded this blog
 */
export function showStore(state) {
  if (state === 'unheld') {
    if (store === 'lacks') return;
    state = 'up';
  }
  if (state === store || (state === 'up' && store === 'older')) return;
  const isBack = state === 'up';
  store = state;
  const line = one('#store');
  line.textContent = STORE[state] ?? '';
  line.hidden = !line.textContent;
  if (isBack) stale();
}

/** Ask for the state of the store, while the page is visible. */
export async function askStore() {
  if (document.hidden) return;
  const answer = await fetch(`/desk/blogs/${slug}/store`, {
    signal: AbortSignal.timeout(STORE_MS),
  }).catch(() => null);
  const content = (await answer?.json().catch(() => null)) ?? {};
  if (content.store) showStore(content.store);
}

// -- forms

/** @param {HTMLFormElement} form @returns {Values} of boxes with the same name, the last one */
export function valuesOf(form) {
  const values = /** @type {Values} */ (Object.fromEntries(new FormData(form)));
  delete values.idempotency_key;
  return values;
}

/** @param {HTMLFormElement} form @param {string} name @returns {Box | null} */
export const boxOf = (form, name) => one(`[name="${name}"]:not([type=hidden])`, form);

/** @param {HTMLFormElement} form @param {string} name @param {string} text */
export function fillBox(form, name, text) {
  const box = boxOf(form, name);
  if (box instanceof HTMLInputElement && box.type === 'checkbox') box.checked = text === 'true';
  else if (box) box.value = text;
}

/** @param {HTMLFormElement} form @returns {HTMLInputElement} */
export const keyOf = (form) => one('[name=idempotency_key]', form);

/**
 * Show the reasons of an outcome: beside their boxes, and below the form.
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
 * Send on submit, one request at a time. Cmd or Ctrl with Enter presses the first button.
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

/** @type {any} clears the notice */
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

// -- unsent text, saved in the browser so that it survives a crash

/** @param {string} what */
const keptName = (what) => `liveblog:${editor}:${slug}:${what}`;

/** @param {string} what @param {HTMLFormElement} form */
export function keep(what, form) {
  const values = valuesOf(form);
  const text = JSON.stringify({ values, key: keyOf(form).value });
  try {
    if (isEmpty(values)) localStorage.removeItem(keptName(what));
    else if (localStorage.getItem(keptName(what)) !== text)
      localStorage.setItem(keptName(what), text);
  } catch {
    // The browser has no storage, or a full one. The text is still in its box.
  }
}

/** @param {string} what */
export function kept(what) {
  try {
    return keptOf(localStorage.getItem(keptName(what)));
  } catch {
    return null;
  }
}

/** @param {string} what */
export function drop(what) {
  try {
    localStorage.removeItem(keptName(what));
  } catch {
    // See `keep`.
  }
}
