// Changes a text box as if the editor had typed: the browser can undo it, listeners get `input`.

import { notify } from './boxes.js';

/** @import {Step} from './marking.js' */
/** @typedef {HTMLInputElement | HTMLTextAreaElement} TextBox */

/** @param {TextBox} box @param {Step} step */
export function takeStep(box, { start, end, text, from, to }) {
  if (start === end && !text) return;
  box.setSelectionRange(start, end);
  // `execCommand` is deprecated, but only its changes can be undone by Ctrl+Z. It needs the focus.
  const isTyped =
    document.activeElement === box &&
    document.execCommand(text ? 'insertText' : 'delete', false, text);
  if (!isTyped) {
    box.setRangeText(text, start, end);
    box.dispatchEvent(new Event('input', { bubbles: true }));
  }
  box.setSelectionRange(from, to);
}

/**
 * Say a sentence beside the toolbar.
 *
 * @param {Element | null} form @param {string} sentence
 */
export function remark(form, sentence) {
  const place = form?.querySelector('.said');
  if (place) place.textContent = sentence;
  else if (sentence) notify(sentence);
}
