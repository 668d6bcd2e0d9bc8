// A GET request with a time limit.

/** @import {World} from './types.js' */

const FETCH_MS = 10_000;

/**
 * Return the answer to a GET request. Status 0: the request failed, broke off in the middle of the
 * text, or took longer than `limit_ms`.
 *
 * @param {World} world @param {string} url @param {number} [limit_ms]
 * @returns {Promise<{status: number, text: string, date?: string | null, redirected?: boolean}>}
 */
export async function answerOf(world, url, limit_ms = FETCH_MS) {
  try {
    const answer = await world.fetch(url, { signal: AbortSignal.timeout(limit_ms) });
    const { status, redirected } = answer;
    const date = answer.headers?.get('date');
    return { status, text: await answer.text(), date, redirected };
  } catch {
    return { status: 0, text: '' };
  }
}
