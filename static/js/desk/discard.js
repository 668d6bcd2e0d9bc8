// Texts that an editor discards, and their Undo.

import { explain, fillForm, newKey, notify, piece, removeApart, say, slug } from './boxes.js';
import { newTab } from './tabs.js';
import { changed, keeper, records, tabs } from './kept.js';
import { idsOf, keepForm, textIn, watchedOf } from './watch.js';

/** @import {Offer, Text} from './texts.js' */
/** @import {Watched} from './watch.js' */

/**
 * Return whether a text is still what its record has: the list may be older, and the record may
 * have another text by now.
 *
 * @param {Offer} offer
 */
export async function isStored({ id, tab, typed_at }) {
  const record = (await records.all()).find((it) => it.id.join() === id?.join());
  // Without locks, a busy tab seemed to be closed.
  const isElsewhere = !tabs.holds(tab) && (await tabs.living()).has(tab);
  return !isElsewhere && (!id || record?.typed_at === typed_at);
}

/** @param {Offer} offer */
export async function discard(offer) {
  if (!(await isStored(offer))) return changed();
  await keeper.drop([offer], [], idsOf(offer));
  sayDiscarded(offer);
}

/** Show what is stored, in place of what the editor typed. @param {HTMLFormElement} form */
export async function discardText(form) {
  const state = /** @type {Watched} */ (watchedOf(form));
  const text = textIn(form);
  if (state.isRejected) {
    await keeper.drop([{ ...text, typed_at: state.typed_at }]);
    return location.assign(slug ? `/desk/blogs/${slug}` : '/desk');
  }
  state.shown = { ...state.written };
  fillForm(form, state.written);
  explain(form, '');
  keepForm(form);
  if (form.closest('.apart')) removeApart(form);
  sayDiscarded(text);
}

/**
 * Say that a text is discarded. Undo offers it again.
 *
 * @param {Omit<Text, 'typed_at'>} text
 */
function sayDiscarded(text) {
  const undo = piece('undiscard');
  undo.addEventListener('click', async () => {
    undo.parentElement.remove();
    await keeper.drop([], [keeper.record({ ...text, tab: newTab(), key: newKey() })]);
    changed();
  });
  notify(say('discarded'), undo);
  changed();
}
