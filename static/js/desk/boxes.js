// Reads and writes the elements of the desk's pages: forms, their boxes (input fields), notices and
// reasons. A reason is a sentence about a rejected write, beside a box or for the whole form.
// Rules: desk/watch.js decides when boxes are emptied.

/** @import {Values} from './texts.js' */
/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Box */

const NOTICE_MS = 10_000;
const UNDO_MS = 60_000;
/** Boxes that belong to a page and its session, not to a text. */
const OF_PAGE = ['idempotency_key', 'editor'];

/** @param {string} selector @param {ParentNode} [root] @returns {any} */
export const one = (selector, root = document) => root.querySelector(selector);
/** @param {string} id of a <template> with one element @returns {any} a copy of the element */
export const piece = (id) => one(`#${id}`).content.firstElementChild.cloneNode(true);
/** @param {string} name @returns {string} a sentence of desk/kept.html; '' for an unknown name */
export const say = (name) =>
  one('#words').content.querySelector(`[data-say="${name}"]`)?.textContent ?? '';
/** @type {HTMLElement} */
export const main = one('main');
/** The blog of this page; '' on pages of no blog. */
export const slug = /^\/desk\/blogs\/([a-z0-9-]+)/.exec(location.pathname)?.[1] ?? '';
export const newKey = () => crypto.getRandomValues(new Uint32Array(6)).join('');

/** Report that this page may be out of date; desk/page.js then loads the page again. */
export const stale = () => document.dispatchEvent(new Event('stale'));

// -- forms

/**
 * Return the values of a form. Of a tick box and the hidden box before it, the last one counts.
 *
 * @param {HTMLFormElement} form @param {HTMLElement | null} [pressed] @returns {Values}
 */
export function valuesOf(form, pressed) {
  /** @type {Values} */
  const values = {};
  const boxes = [...new FormData(form)];
  if (pressed instanceof HTMLButtonElement && pressed.name)
    boxes.push([pressed.name, pressed.value]);
  for (const [name, text] of boxes) {
    if (OF_PAGE.includes(name)) continue;
    const isMore = name in values && !one(`[type=checkbox][name="${name}"]`, form);
    values[name] = isMore ? [values[name], `${text}`].flat() : `${text}`;
  }
  return values;
}

/**
 * Return the values that the server wrote into a form; a browser may have filled in others.
 *
 * @param {HTMLFormElement} form
 */
export function writtenIn(form) {
  const copy = /** @type {HTMLFormElement} */ (form.cloneNode(true));
  copy.reset();
  return valuesOf(copy);
}

/** @param {HTMLFormElement} form @param {string} name @returns {Box | null} */
export const boxOf = (form, name) => one(`[name="${name}"]:not([type=hidden], button)`, form);

/**
 * Fill boxes. Boxes of one name get one text each. The event `filled` follows, not `input`.
 *
 * @param {HTMLFormElement} form @param {Values} values
 */
export function fillForm(form, values) {
  for (const [name, value] of Object.entries(values)) {
    if (!OF_PAGE.includes(name)) fillAll(form, name, [value].flat());
  }
  form.dispatchEvent(new Event('filled', { bubbles: true }));
}

/** @param {HTMLFormElement} form @param {string} name @param {string[]} texts */
function fillAll(form, name, texts) {
  const boxes = /** @type {Box[]} */ ([...form.querySelectorAll(`[name="${name}"]:not(button)`)]);
  const tick = /** @type {HTMLInputElement | undefined} */ (
    boxes.find((it) => it.type === 'checkbox')
  );
  if (tick) return void (tick.checked = texts.at(-1) === tick.value);
  while (boxes.length && boxes.length < texts.length) {
    const more = /** @type {Box} */ (boxes[boxes.length - 1].cloneNode());
    more.removeAttribute('id');
    boxes[boxes.length - 1].after(more);
    boxes.push(more);
  }
  boxes.forEach((box, i) => {
    box.value = texts[i] ?? '';
    box.setCustomValidity(''); // else WebKit counts an emptied time as invalid, and submits nothing
  });
}

/** @param {HTMLFormElement} form @returns {HTMLInputElement} */
export const keyOf = (form) => one('[name=idempotency_key]', form);

/**
 * Return a copy of a form with ids of its own.
 *
 * @param {HTMLFormElement} form @param {string} id @returns {HTMLFormElement}
 */
export function formCopy(form, id) {
  const copy = /** @type {HTMLFormElement} */ (form.cloneNode(true));
  for (const it of [copy, ...copy.querySelectorAll('*')]) {
    it.removeAttribute('autofocus');
    for (const name of ['id', 'for', 'aria-describedby', 'aria-labelledby']) {
      const value = it.getAttribute(name);
      if (value) it.setAttribute(name, value.replaceAll(form.id, id));
    }
  }
  return copy;
}

/**
 * Show the sentences about a write: `boxes` beside their boxes, `reason` for the whole form. Focus
 * the first box that the server rejected, if the editor is in this form.
 *
 * @param {HTMLFormElement} form @param {string} reason @param {Record<string, string>} [boxes]
 */
export function explain(form, reason, boxes = {}) {
  for (const line of /** @type {NodeListOf<HTMLElement>} */ (
    form.querySelectorAll('[data-reason]')
  )) {
    const name = line.dataset.reason ?? '';
    const text = name ? (boxes[name] ?? '') : reason;
    line.hidden = !text;
    line.textContent = text;
    line.classList.remove('quiet');
    if (text) boxOf(form, name)?.setAttribute('aria-invalid', 'true');
    else if (name) boxOf(form, name)?.removeAttribute('aria-invalid');
  }
  const wrong = Object.keys(boxes).map((name) => boxOf(form, name));
  focusIn(form, wrong.find(Boolean));
}

/**
 * Show words for which a form has no box, above its reason.
 *
 * @param {HTMLFormElement} form @param {[string, string][]} words by box
 */
export function showApart(form, words) {
  for (const [, text] of words) {
    const pane = piece('homeless');
    one('textarea', pane).value = text;
    one('[data-reason=""]', form).before(pane);
  }
}

/**
 * Focus a box, unless the editor is somewhere else: the next letters would get lost.
 *
 * @param {HTMLFormElement} form @param {HTMLElement | null} [box]
 */
export function focusIn(form, box) {
  if (form.contains(document.activeElement)) box?.focus();
}

/** Remove a form of its own. Its focus goes to the form for new entries. @param {Element} form */
export function removeApart(form) {
  const hasFocus = form.contains(document.activeElement);
  (form.closest('.apart') ?? form).remove();
  if (hasFocus) one('#compose [name=body]')?.focus();
}

/** @param {HTMLFormElement} form @param {boolean} isBusy */
export function setBusy(form, isBusy) {
  form.toggleAttribute('data-busy', isBusy);
  form.setAttribute('aria-busy', String(isBusy));
}

// -- notices

/**
 * Show a notice for some seconds. It replaces the others, but for those that can be undone.
 *
 * @param {string} text @param {HTMLElement} [undo] with the button
 */
export function notify(text, undo) {
  const line = document.createElement('div');
  line.append(Object.assign(document.createElement('p'), { textContent: text }), undo ?? '');
  for (const old of [...one('#notice').children]) if (!one('button', old)) old.remove();
  one('#notice').append(line);
  setTimeout(() => line.remove(), undo ? UNDO_MS : NOTICE_MS);
}

/** Say what failed in the script. Texts stay kept. @param {any} error */
export const sayFailure = (error) => notify(`${say('failed')} ${error?.message ?? error}`);
