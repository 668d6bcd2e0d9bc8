// Unsent text, saved in the browser so that it survives a crash.

import { isEmpty, keptOf } from './form.js';
import { editor, keyOf, slug, valuesOf } from './boxes.js';

/** @param {string} what */
const keptName = (what) => `liveblog:${editor}:${slug}:${what}`;

/**
 * Save a form's unsent text in the browser.
 *
 * @param {string} what the entry's id, or "new" for the form for new entries
 * @param {HTMLFormElement} form
 */
export function keep(what, form) {
  const values = valuesOf(form);
  const text = JSON.stringify({ values, key: keyOf(form).value });
  try {
    if (isEmpty(values)) localStorage.removeItem(keptName(what));
    else if (localStorage.getItem(keptName(what)) !== text)
      localStorage.setItem(keptName(what), text);
  } catch {
    // The browser forbids storage, or the storage is full. The text is still in its box.
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
    // The browser forbids storage, so nothing was saved.
  }
}
