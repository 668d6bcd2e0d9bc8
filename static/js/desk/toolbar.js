// The buttons and keys that set marks in a text.

import { marked } from './marking.js';
import { takeStep } from './typing.js';

/** @import {Mark} from './marking.js' */

/** @type {Record<string, Mark>} */
const MARK_KEYS = {
  b: 'bold',
  i: 'italic',
  k: 'link',
  KeyB: 'bold',
  KeyI: 'italic',
  KeyK: 'link',
};
export const IS_MAC = /Mac|iP/.test(navigator.platform);

/** @param {HTMLFormElement} form @param {HTMLTextAreaElement} box the box of the text */
export function equip(form, box) {
  /** @param {Mark} mark */
  const set = (mark) => {
    box.focus();
    takeStep(box, marked(box.value, box.selectionStart, box.selectionEnd, mark));
  };
  const bar = form.querySelector('.toolbar');
  // A pressed button takes no focus: a phone would close its keyboard.
  bar?.addEventListener('mousedown', (event) => event.preventDefault());
  bar?.addEventListener('click', (event) => {
    const button = /** @type {Element} */ (event.target).closest('[data-mark]');
    if (button instanceof HTMLElement) set(/** @type {Mark} */ (button.dataset.mark));
  });
  box.addEventListener('keydown', (event) => {
    const { key, code } = event;
    // A key of another script, such as Cyrillic, is known by its place.
    const mark = MARK_KEYS[/^[ -~]$/.test(key) ? key.toLowerCase() : code];
    const isPlain = !event.shiftKey && !event.altKey && !event.isComposing;
    if (!mark || !isPlain || !(IS_MAC ? event.metaKey : event.ctrlKey)) return;
    event.preventDefault();
    set(mark);
  });
}
