// Pastes with formatting: the server makes Markdown of the clipboard's HTML.
// Rules: the plain text is in the box at once, and the Markdown replaces it. So nothing is lost if
// the server does not answer, and what an editor types meanwhile stays.

import { say, sayFailure } from './boxes.js';
import { movedTo } from './marking.js';
import { post } from './send.js';
import { remark, takeStep } from './typing.js';

/** A press of Publish waits this long for the Markdown of a paste. */
const FORMAT_MS = 2_000;
/** The server reads one paste of an editor at a time. @type {Promise<any>} */
let lastPaste = Promise.resolve();
/** @type {Promise<void>} */
let formatting = Promise.resolve();
let isFormatting = false;

/**
 * Wait until the last paste is formatted, or the editor types on, or for `FORMAT_MS`.
 *
 * @param {HTMLFormElement} form
 */
export function formatted(form) {
  const later = new Promise((done) => {
    setTimeout(done, FORMAT_MS);
    form.addEventListener('beforeinput', () => isFormatting || done(null), { once: true });
  });
  return Promise.race([formatting, later]);
}

/** @param {HTMLTextAreaElement} box */
export function acceptPastes(box) {
  /** The end of the last composition, such as of Japanese. @type {Promise<void>} */
  let composition = Promise.resolve();
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
    const after = plain ? start + plain.length : end; // a picture may have no words
    if (plain) takeStep(box, { start, end, text: plain, from: after, to: after });
    const pasted = { value: box.value, start, end: after };
    lastPaste = lastPaste.then(() => post('/desk/paste', { html, text }, ''));
    formatting = lastPaste
      .then(async ({ content }) => {
        await composition; // a change of the box would break it off
        formatPaste(box, pasted, content);
      })
      .catch(sayFailure);
  });
}

/**
 * Replace a pasted text by its Markdown.
 *
 * @param {HTMLTextAreaElement} box
 * @param {{value: string, start: number, end: number}} pasted the box's text directly after the
 *   paste, and where the pasted text is in it
 * @param {{markdown: string, reason?: string}} answer
 */
function formatPaste(box, { value, start, end }, { markdown, reason }) {
  const plain = value.slice(start, end);
  if (markdown && markdown === plain) return;
  const at = markdown ? movedTo(value, box.value, start, end) : -1;
  if (at < 0) return remark(box.form, reason ?? say('plain'));
  const text = onOwnLines(markdown, box.value.slice(0, at), box.value.slice(at + plain.length));
  const [from, to] = [box.selectionStart, box.selectionEnd].map((place) => {
    if (place <= at) return place;
    return Math.max(place - plain.length, at) + text.length;
  });
  isFormatting = true;
  takeStep(box, { start: at, end: at + plain.length, text, from, to });
  isFormatting = false;
}

/**
 * Return Markdown whose lists, tables, quotes and headings do not share a line with the words
 * around them, where their marks would not count.
 *
 * @param {string} markdown @param {string} before @param {string} after
 */
function onOwnLines(markdown, before, after) {
  const isBlock = (/** @type {string} */ line) => /^([-*>|]|##+|\d+\.) /.test(line);
  const lines = markdown.split('\n');
  const isApart = isBlock(lines[0]) && /[^\n]$/.test(before);
  const isFollowed = isBlock(lines[lines.length - 1]) && /^[^\n]/.test(after);
  return (isApart ? '\n\n' : '') + markdown + (isFollowed ? '\n\n' : '');
}
