// Pastes with formatting: the server makes Markdown of the clipboard's HTML.
// Rules: the plain text is in the box at once, and the Markdown replaces it. So nothing is lost if
// the server does not answer, and what an editor types meanwhile stays.

import { say, sayFailure } from './boxes.js';
import { movedTo } from './marking.js';
import { post } from './send.js';
import { remark, takeStep } from './typing.js';

/** The server reads one paste of an editor at a time. @type {Promise<void>} */
let lastPaste = Promise.resolve();
/** The end of the last composition, such as of Japanese. @type {Promise<void>} */
let composition = Promise.resolve();

/** @param {HTMLTextAreaElement} box */
export function acceptPastes(box) {
  box.addEventListener('compositionstart', () => {
    composition = new Promise((done) => {
      box.addEventListener('compositionend', () => done(), { once: true });
    });
  });
  box.addEventListener('paste', (event) => {
    const html = event.clipboardData?.getData('text/html'); // none when pasted without formatting
    const text = event.clipboardData?.getData('text/plain') ?? '';
    if (!html) return;
    event.preventDefault();
    const { selectionStart: start, selectionEnd: end } = box;
    const plain = text.replace(/\r\n?/g, '\n');
    const after = start + plain.length;
    takeStep(box, { start, end, text: plain, from: after, to: after });
    const pasted = { value: box.value, start, end: after };
    lastPaste = lastPaste.then(() => formatPaste(box, pasted, { html, text })).catch(sayFailure);
  });
}

/**
 * Replace a pasted text by its Markdown.
 *
 * @param {HTMLTextAreaElement} box
 * @param {{value: string, start: number, end: number}} pasted the box's text directly after the
 *   paste, and where the pasted text is in it
 * @param {{html: string, text: string}} clipboard
 */
async function formatPaste(box, { value, start, end }, clipboard) {
  const { markdown, reason } = (await post('/desk/paste', clipboard, '')).content;
  await composition; // a change of the box would break it off
  const plain = value.slice(start, end);
  if (markdown === plain) return;
  const at = markdown ? movedTo(value, box.value, start, end) : -1;
  if (at < 0) return remark(box.form, reason ?? say('plain'));
  const [from, to] = [box.selectionStart, box.selectionEnd].map((place) => {
    if (place <= at) return place;
    return Math.max(place - plain.length, at) + markdown.length;
  });
  takeStep(box, { start: at, end: at + plain.length, text: markdown, from, to });
}
