// Shows editors whether the store can be reached, accepts writes, and has the blog's latest state.

import { one, say, slug, stale } from './boxes.js';
import { ask } from './send.js';

const STORE_ANSWER_MS = 3_000;
export const STORE_MS = 1_000;

let store = 'up';
let isOlder = false;

/**
 * Show the state of the store. A single write that failed does not change it, so that the line does
 * not flicker: `askStore` and a fetched page do. The warning "older" (the store lost the latest
 * changes) stays until a reload, even when the store is "up".
 *
 * @param {string} state `up`, `down`, `refuses-writes`, `late`, `lacks` or `older`; or "unheld": the
 *   store answers, but the worker that was asked has not loaded this blog
 * @param {string} [why] why the store refuses writes, to continue a sentence
 */
export function showStore(state, why = '') {
  if (state === 'unheld') {
    if (store === 'lacks') return;
    state = 'up';
  }
  if (state === 'older') isOlder = true;
  const isBack = state === 'up' && store !== 'up';
  if (state === 'up' && isOlder) state = 'older';
  const reason = why ? ` The store refuses writes: ${why}.` : '';
  const text = say(state) + reason;
  const line = one('#store');
  if (state === store && text === line.textContent) return;
  store = state;
  line.textContent = text;
  line.hidden = !line.textContent;
  if (isBack) stale();
}

/** Ask for the state of the store, while the page is visible. */
export async function askStore() {
  if (document.hidden) return;
  const signal = AbortSignal.timeout(STORE_ANSWER_MS);
  const { content } = await ask(`/desk/blogs/${slug}/store`, { signal }, '');
  if (content.cause === 'subscriptions') showStore('late');
  else if (content.store) showStore(content.store, content.why);
}
