// Posts the desk's forms, and says what an answer means for a text: stored, rejected, or not
// answered.
// Rules: no document. Nothing here throws: an editor's text must not depend on the network.

/** @import {Values} from './texts.js' */
/**
 * @typedef {'done' | 'rejected' | 'unanswered' | 'signed-out' | 'other-editor'} Kind
 *   unanswered: no answer, or one that leaves open what is stored: the same form is sent again;
 *   other-editor: somebody else has signed in since the page was loaded
 */
/** @typedef {{kind: Kind, status: number, content: any, wait_ms: number}} Answer */

const FORM_ANSWER_MS = 20_000;
/** The longest wait that a server can ask for. */
const WAIT_MS_MAX = 60_000;
/** Timeouts, and too many requests: nothing is stored, and the same form may succeed later. */
const LATER_STATUSES = [0, 408, 425, 429];

/**
 * @param {number} status of HTTP; 0 without an answer
 * @param {any} content the answer's JSON; null without
 */
export function kindOf(status, content) {
  if (status >= 200 && status < 300) return content ? 'done' : 'unanswered';
  if (isDamaged(content)) return 'rejected';
  if (LATER_STATUSES.includes(status) || status >= 500) return 'unanswered';
  if (status === 401) return 'signed-out';
  return content?.type?.endsWith('/other-editor') ? 'other-editor' : 'rejected';
}

/** Whether what is stored can only be deleted. @param {any} content of an answer */
export const isDamaged = (content) => content?.type?.endsWith('/damaged');

/** @param {Answer} answer @returns {string} a sentence for the editor */
export const reasonOf = ({ content, status }) =>
  content.reason ?? content.detail ?? `The server rejected this (${status}).`;

/**
 * @param {string} path @param {RequestInit} init
 * @param {string} editor for whom the page was made; the server rejects another editor's session
 * @returns {Promise<Answer>}
 */
export async function ask(path, init, editor) {
  // A name may have letters that no header takes.
  const of = editor ? { 'Liveblog-Editor': encodeURI(editor) } : null;
  const headers = { Accept: 'application/json', ...of, ...init.headers };
  try {
    const answer = await fetch(path, {
      signal: AbortSignal.timeout(FORM_ANSWER_MS),
      ...init,
      headers,
    });
    const content = answer.status === 204 ? {} : await answer.json().catch(() => null);
    const asked_ms = Number(answer.headers.get('Retry-After')) * 1000; // NaN of a date
    const wait_ms = Math.min(asked_ms || 0, WAIT_MS_MAX);
    return {
      kind: kindOf(answer.status, content),
      status: answer.status,
      content: content ?? {},
      wait_ms,
    };
  } catch {
    return { kind: 'unanswered', status: 0, content: {}, wait_ms: 0 };
  }
}

/** @param {string} path @param {Values} values @param {string} editor */
export function post(path, values, editor) {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    for (const text of [value].flat()) body.append(name, text);
  return ask(path, { method: 'POST', body }, editor);
}
