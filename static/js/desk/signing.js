// Signing in without leaving the page, and the question who publishes when another editor has
// signed in. The form that was rejected is sent again afterwards.

import { explain, main, one, say, valuesOf } from './boxes.js';
import { post, reasonOf } from './send.js';
import { become, queue, scope, tabs } from './kept.js';

/** @import {Values} from './texts.js' */
/** @import {Answer} from './send.js' */

/** @type {HTMLElement} */
const asking = one('#asking');
/** @type {(() => void)[]} what waits for a session */
let waiting = [];
let session = { ident: '', name: '' };
/** The name of the editor for whom the page was made. */
const named = () => main.dataset.desk || scope[0].replace(/^\w+:/, '');

/**
 * Ask for a session of this page's editor.
 *
 * @param {Partial<Answer>} [answer] that says why; without it, the session has ended
 */
export function askForSession({ kind, content } = {}) {
  if (!asking) return;
  const isOther = kind === 'other-editor';
  if (isOther) session = content.editor;
  one('#who', asking).hidden = !isOther;
  one('#signing', asking).hidden = isOther;
  for (const it of asking.querySelectorAll('[data-session]')) it.textContent = session.name;
  for (const it of asking.querySelectorAll('[data-page]')) it.textContent = named();
  if (!isOther && !one('#signing-name').value) one('#signing-name').value = named();
  const place = one('dialog[open]') ?? one('#kept'); // a dialog keeps the page behind it inert
  if (asking.parentNode !== place) place.prepend(asking); // it would lose the focus
  asking.hidden = false;
}

/** Put the questions back into the page, before a dialog closes. */
export const returnQuestions = () => one('#kept')?.prepend(asking);

/** Send what was waiting for a session, and copies of the texts. */
export async function goOn() {
  asking.hidden = true;
  tabs.onrenew();
  for (const run of waiting.splice(0)) run();
  await queue.drain();
}

/**
 * Post a form. When the session has ended, or is another editor's, wait for the answer to the
 * question, then post again.
 *
 * @param {string} path @param {Values} values @returns {Promise<Answer>}
 */
export async function postAsking(path, values) {
  const answer = await post(path, values, scope[0]);
  if (!asking || !['signed-out', 'other-editor'].includes(answer.kind)) return answer;
  askForSession(answer);
  await new Promise((done) => waiting.push(() => done(null)));
  return postAsking(path, values);
}

/** @param {SubmitEvent} event */
async function signIn(event) {
  event.preventDefault();
  const form = /** @type {HTMLFormElement} */ (event.target);
  const answer = await post(new URL(form.action).pathname, valuesOf(form), '');
  if (answer.kind === 'unanswered') return explain(form, answer.content.reason ?? say('silent'));
  if (answer.kind !== 'done') return explain(form, reasonOf(answer), answer.content.boxes);
  one('[name=password]', form).value = '';
  explain(form, '');
  const { editor, name } = answer.content;
  if (editor === scope[0]) return goOn();
  askForSession({ kind: 'other-editor', content: { editor: { ident: editor, name } } });
}

/** @param {MouseEvent} event */
async function choose({ target }) {
  const choice = /** @type {HTMLElement} */ (target).closest('button')?.dataset.who;
  if (choice === 'page') return askForSession();
  if (choice !== 'session') return;
  main.dataset.desk = session.name;
  one('.who').textContent = session.name;
  one('.who').ariaLabel = `Menu of ${session.name}`;
  await become(session.ident);
  await goOn();
}

export function setUpSigning() {
  one('#signing')?.addEventListener('submit', signIn);
  one('#who')?.addEventListener('click', choose);
}
