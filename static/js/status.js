// The status line: shows the state of the stream in words.

/** @import {State} from './types.js' */

/**
 * Return the two texts of the status line. Screen readers announce the first, the state of the
 * stream; the second is a countdown that is only visible.
 *
 * @param {State} state @param {string} status of the blog @param {number} now_ms
 */
export function words({ name, retry_at }, status, now_ms) {
  if (status === 'ended') return ['Coverage has ended', ''];
  if (name === 'paused') return ['Paused', ''];
  if (name === 'offline') return ['You are offline', ''];
  if (name === 'live') return [status === 'live' ? 'Live' : 'Waiting for coverage to begin', ''];
  if (retry_at === 0) return ['Connecting', ''];
  if (!retry_at) return ['No live updates, reload the page', ''];
  const wait_s = Math.ceil((retry_at - now_ms) / 1_000);
  return ['Connection lost', wait_s > 0 ? `, retrying in ${wait_s} s` : ', retrying'];
}

/** @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} main @param {State} state @param {number} now_ms */
export function showStatus(main, state, now_ms) {
  const find = (/** @type {string} */ it) => /** @type {HTMLElement} */ (main.querySelector(it));
  const { status = '' } = find('header').dataset;
  const line = find('#status');
  line.dataset.state = status === 'ended' ? status : state.name;
  words(state, status, now_ms).forEach((text, i) => write(line.children[i], text));
}
