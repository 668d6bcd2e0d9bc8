// Shows editors whether the store can be reached, accepts writes, and has the blog's latest state.

import { one, slug, stale } from './boxes.js';

const STORE_ANSWER_MS = 3_000;
export const STORE_MS = 1_000;

/** @type {Record<string, string>} */
const STORE = {
  up: '',
  down: 'Publishing is unavailable right now. Your text is safe here.',
  'refuses-writes': 'Publishing is unavailable right now. Your text is safe here.',
  late: 'Readers get new changes late: the store forbids subscriptions. You can go on publishing.',
  lacks:
    'The store no longer has this blog: it was emptied or replaced. Readers keep the last version.' +
    ' Publishing is unavailable until the blog is back.',
  older:
    'The store came back with an older version of this blog, so the latest entries may be missing.' +
    ' Readers see the same as this page. Publish again what is still needed.',
};
let store = 'up';
let isOlder = false;

/**
 * Show the state of the store. A single write that failed does not change it, so that the line does
 * not flicker: `askStore` and a fetched page do. The warning "older" (the store lost the latest
 * changes) stays until a reload, even when the store is "up".
 *
 * @param {string} state a key of STORE, or "unheld": the store answers, but the worker that was
 *   asked has not loaded this blog
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
  const text = (STORE[state] ?? '') + reason;
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
  const answer = await fetch(`/desk/blogs/${slug}/store`, {
    signal: AbortSignal.timeout(STORE_ANSWER_MS),
  }).catch(() => null);
  const content = (await answer?.json().catch(() => null)) ?? {};
  if (content.cause === 'subscriptions') showStore('late');
  else if (content.store) showStore(content.store, content.why);
}
