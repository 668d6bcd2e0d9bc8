// Two editors saved the same text: both versions are shown, and none is lost.
// Rules: both editors' words are shown as text, never as markup. This editor's version stays among
// the unsent texts until it is stored or discarded there.

import { boxOf, explain, fillForm, focusIn, one, piece, say, valuesOf } from './boxes.js';
import { merge } from './texts.js';
import { keepApart, rebase, watchedOf } from './watch.js';

/** @import {Values} from './texts.js' */

/**
 * Show both texts of each box that both editors changed. A box that only the other editor changed
 * gets the other editor's text.
 *
 * @param {HTMLFormElement} form
 * @param {{values: Values, reason?: string}} answer of the server; its values are the stored ones
 */
export async function compare(form, { values: theirs, reason = '' }) {
  const { taken, both } = merge(valuesOf(form), watchedOf(form)?.shown ?? {}, theirs);
  const texts = both.filter((name) =>
    boxOf(form, name)?.matches('textarea, input:not([type=checkbox])'),
  );
  if (texts.length) await keepApart(form, say('mine'));
  endCompare(form);
  fillForm(form, taken);
  for (const name of texts) beside(form, name, theirs[name]);
  rebase(form, theirs);
  explain(form, `${reason} ${say(texts.length ? 'both' : 'taken')}`);
  focusIn(form, texts[0] ? boxOf(form, texts[0]) : one('button.primary', form));
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
  const show = () => {
    title.textContent = isTheirs ? 'Their version' : 'Your version';
    button.textContent = isTheirs ? 'Use their version' : 'Use your version';
    text.value = [other].flat().join('\n');
    text.setAttribute(
      'aria-label',
      `${mine?.labels?.[0]?.textContent ?? name}, ${title.textContent}`,
    );
  };
  text.rows = mine instanceof HTMLTextAreaElement ? 6 : 2;
  button.addEventListener('click', () => {
    const was = valuesOf(form)[name] ?? '';
    fillForm(form, { [name]: other });
    [other, isTheirs] = [was, !isTheirs];
    show();
    mine?.dispatchEvent(new Event('input', { bubbles: true }));
    mine?.focus();
  });
  show();
  const both = document.createElement('div');
  both.className = 'both';
  const wrapped = mine?.closest('.box');
  wrapped?.replaceWith(both);
  both.append(wrapped ?? '', pane);
}

/** Remove the other versions from beside the boxes. @param {HTMLFormElement} form */
export function endCompare(form) {
  for (const both of [...form.querySelectorAll('.both')]) both.replaceWith(one('.box', both));
}
