// Two editors saved the same text: both versions are shown, and none is lost.
// Rules: both editors' words are shown as text, never as markup. This editor's version stays among
// the unsent texts until it is stored or discarded there.

import { boxOf, explain, fillForm, one, piece, say, valuesOf } from './boxes.js';
import { shownAs, isSameText, pick } from './texts.js';
import { keepApart, rebase } from './watch.js';

/** @import {Sent, Values} from './texts.js' */
/**
 * @typedef {object} Conflict the server's answer
 * @property {string} reason
 * @property {Values} values what is stored, as the form's boxes
 * @property {Values} taken the boxes that only the other editor altered
 * @property {Values} both the other editor's texts of the boxes that both altered
 */

/**
 * Show the other editor's texts: in boxes that only the other editor altered, else beside the box.
 *
 * @param {HTMLFormElement} form @param {Sent} item as it was sent @param {Conflict} conflict
 */
export async function compare(form, item, { reason, values, taken, both }) {
  // This editor may have typed in a box since the form was sent, and may type while it is kept.
  const clashes = () =>
    Object.keys({ ...both, ...taken }).filter(
      (it) => boxOf(form, it) && (it in both || !isSameText(valuesOf(form)[it], item.values[it])),
    );
  if (clashes()[0]) await keepApart(form, say('mine'));
  endCompare(form);
  const texts = clashes();
  const undecided = pick(valuesOf(form), ['revision', ...texts.map((it) => `${it}_was`)]);
  for (const name of texts) {
    beside(form, name, both[name] ?? taken[name]);
    delete taken[name];
  }
  fillForm(form, taken);
  rebase(form, values, undecided);
  explain(form, reason);
  // The next letters belong to the box in which the editor is.
  if (texts[0] && one('button:focus', form)) boxOf(form, texts[0])?.focus();
}

/**
 * Show the other version beside a box. The button exchanges both.
 *
 * @param {HTMLFormElement} form @param {string} name @param {string | string[]} other
 */
function beside(form, name, other) {
  const mine = boxOf(form, name);
  const pane = piece('their-version');
  const [title, text, button] = ['strong', 'textarea', 'button'].map((it) => one(it, pane));
  let isTheirs = true;
  /** @type {string | string[]} what the box has that is stored, or kept apart */
  let kept = '';
  const show = () => {
    const whose = isTheirs ? 'Their' : 'Your';
    title.textContent = `${whose} version`;
    button.textContent = `Use ${whose.toLowerCase()} version`;
    text.value = shownAs(mine ?? {}, other);
    text.ariaLabel = `${mine?.labels?.[0]?.textContent ?? name}, ${title.textContent}`;
  };
  text.rows = mine instanceof HTMLTextAreaElement ? 6 : 2;
  button.addEventListener('click', async () => {
    const now = () => valuesOf(form)[name] ?? '';
    while (!isSameText(now(), kept)) {
      kept = now(); // the editor may type until it is kept
      await keepApart(form, say('mine'));
    }
    [other, kept] = [kept, other];
    fillForm(form, { [name]: kept });
    isTheirs = !isTheirs;
    show();
    mine?.dispatchEvent(new Event('input', { bubbles: true }));
    mine?.focus();
  });
  show();
  mine?.closest('.box')?.after(pane); // a moved box would lose the focus
}

/** Remove the other versions from beside the boxes. @param {HTMLFormElement} form */
export function endCompare(form) {
  for (const pane of form.querySelectorAll('.box + .theirs:not(.box)')) pane.remove();
}
