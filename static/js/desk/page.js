// The desk's page of a blog: a form for new entries, and a feed that is live like the reader's
// page.
// Rules: all markup comes from the server or its templates.

// The joined script has the modules in this order, which compresses to 260 B less than by name.
import { View } from '../view.js';
import { morph, parseHtml } from '../morph.js';
import { parse } from '../timeline.js';
import { Live } from '../live.js';
import { Times } from '../time.js';
import { askToPersist, changed, hooks, openDesk, queue, tabs } from './kept.js';
import {
  forgetContained,
  formOf,
  isAltered,
  isKept,
  keepForm,
  restoreOwn,
  press,
  rebase,
  takeOver,
  watch,
  watchedOf,
} from './watch.js';
import { IS_MAC } from './toolbar.js';
import { reasonOf } from './send.js';
import {
  explain,
  fillForm,
  keyOf,
  main,
  newKey,
  notify,
  one,
  piece,
  say,
  sayFailure,
  setBusy,
  slug,
  stale,
  valuesOf,
} from './boxes.js';
import { compare, endCompare } from './conflict.js';
import { findOffers, openApart, openDeleted, showOffers, showQueue } from './offers.js';
import { closeEdit, dialog, lookAtEntry, setUpDialog, setUpEdit, showText } from './edit.js';
import { answerOf } from '../answer.js';
import { askForSession, goOn, postAsking, setUpSigning } from './signing.js';
import { VERSION } from '../version.js';
import { askStore, showStore, STORE_MS } from './condition.js';
import { Feed } from '../feed.js';
import { isSame } from './texts.js';
import { orderOfPins, watchPins } from './pins.js';
import { formatted } from './pasting.js';

/** @import {Kept, Sent} from './texts.js' */
/** @import {Answer} from './send.js' */

/** The page is fetched this long after a change, so that quick changes share one fetch. */
const LOAD_DELAY_MS = 150;
/** The time between two fetches of the page, to find new drafts: streams do not carry drafts. */
const LOOK_MS = 30_000;
const EDIT_MS = 1_000;

// -- the answers to what was sent

/**
 * @param {Sent} item @param {Answer} answer @param {Kept} [text] what a rejected form became
 * @param {boolean} [isHere] whether this tab sent it
 */
async function answered(item, answer, text, isHere) {
  const isOwn = tabs.holds(item.tab);
  const shown = item.form === 'new' ? undefined : formOf(item);
  const form = watchedOf(shown)?.sent === item.key ? shown : undefined; // else it was opened later
  const { kind } = answer;
  if (kind === 'signed-out' || kind === 'other-editor') {
    const isLeft = isHere && !(await tabs.living()).has(item.tab);
    return void ((isOwn || isLeft) && askForSession(answer));
  }
  if (kind === 'done') return stored(item, answer.content, form, isOwn);
  if (kind === 'unanswered') return form && explain(form, say('unanswered'));
  if (item.form === 'new' && isOwn && text) await openApart(text);
  else if (form) await rejected(form, item, answer, text);
  else if (shown && text && formOf(text) === shown)
    await takeOver(shown, text, say('early'), showText);
  else if (isOwn && text) notify(reasonOf(answer));
  changed();
}

/**
 * Return whether the editor typed nothing in a form since it was sent.
 *
 * @param {HTMLFormElement} form @param {Sent} item
 */
function isUntouched(form, { values }) {
  return isSame(valuesOf(form), values);
}

/**
 * @param {Sent} item @param {any} content of the answer
 * @param {HTMLFormElement | undefined} form @param {boolean} isOwn whether this tab sent it
 */
async function stored(item, { notice, note, values, blog }, form, isOwn) {
  if (one('#asking')?.hidden === false) goOn();
  if (isOwn) notify([notice, note].filter(Boolean).join(' '));
  stale();
  if (!form) {
    const back = [...document.forms].find((it) => keyOf(it)?.value === item.key);
    if (back) explain(back, say('stored'));
    return changed();
  }
  setBusy(form, false);
  explain(form, '');
  endCompare(form);
  await forgetContained(form, item.values);
  // The page with the forms for the new status starts or ends the stream.
  if (blog && blog.status !== main.dataset.status) return open(`?done=${form.dataset.header}`);
  const isReady = isUntouched(form, item);
  keyOf(form).value = newKey();
  if (isReady) fillForm(form, values ?? {});
  else explain(form, say('since'));
  rebase(form, { ...valuesOf(form), ...values }); // forgets what was typed and taken back meanwhile
  if (isReady && form.isConnected && !form.dataset.header) closeEdit();
}

/**
 * @param {HTMLFormElement} form @param {Sent} item @param {Answer} answer @param {Kept} [text]
 */
async function rejected(form, item, answer, text) {
  setBusy(form, false);
  if (text) keyOf(form).value = text.key;
  if (answer.status === 412 && answer.content.values) return compare(form, item, answer.content);
  explain(form, reasonOf(answer), answer.content.boxes);
  if (text || !isUntouched(form, item)) keepForm(form); // else the queue has it
  if (answer.status !== 410 || !text || !dialog?.open || !isUntouched(form, item)) return;
  dialog.close();
  await openDeleted(text);
}

// -- forms

/**
 * Free a form when another tab got its answer, and did not pass it on.
 *
 * @param {HTMLFormElement} form @param {Sent[]} items
 */
function free(form, items) {
  const { sent } = watchedOf(form) ?? {};
  if (sent && !items.some((it) => it.key === sent)) setBusy(form, false);
}

/** Forms that wait for the Markdown of a paste, before they are sent. */
const pressed = new WeakSet();

/** @param {SubmitEvent} event */
async function onSubmit(event) {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (!watchedOf(form) && !form.dataset.do && !form.dataset.header) return;
  event.preventDefault();
  if (form.hasAttribute('data-busy')) return;
  if (form.id === 'new') return createBlog(form);
  if (watchedOf(form)) {
    const asked = valuesOf(form); // the start of the page may show another text
    await ready;
    if (!isSame(asked, valuesOf(form)) || pressed.has(form)) return;
    pressed.add(form);
    await formatted(form);
    pressed.delete(form);
    return press(form, event.submitter);
  }
  setBusy(form, true);
  await act(form, event.submitter).finally(() => setBusy(form, false));
}

/** @type {WeakMap<HTMLFormElement, string>} keys under which forms were sent without an answer */
const keys = new WeakMap();

/**
 * The buttons of an entry and of the blog.
 *
 * @param {HTMLFormElement} form @param {HTMLElement | null} pressed
 */
async function act(form, pressed) {
  const path = new URL(form.action).pathname;
  const key = keyOf(form)?.value ?? keys.get(form) ?? newKey();
  keys.set(form, key);
  const values = { ...valuesOf(form, pressed), idempotency_key: key };
  const answer = await postAsking(path, values);
  if (answer.kind !== 'unanswered') keys.delete(form);
  const [, id] = /\/entries\/(e[0-9a-z]+)/.exec(path) ?? [];
  const isDeleted = form.dataset.do === 'delete' && answer.kind === 'done';
  if (answer.kind === 'unanswered') notify(answer.content.reason ?? say('silent'));
  else if (answer.kind !== 'done') notify(reasonOf(answer));
  else if (form.dataset.header) return open(`?done=${form.dataset.header}`);
  else notify(answer.content.notice, isDeleted ? undoOf(id) : undefined);
  if (isDeleted) form.closest('dialog')?.close();
  if (answer.kind === 'done') form.closest('#notice > *')?.remove(); // an Undo is done once
  stale();
}

/** @param {string} id of a deleted entry @returns {HTMLFormElement} that restores the entry */
function undoOf(id) {
  const form = piece('undo');
  form.action = form.getAttribute('action').replace('ID', id);
  return form;
}

/** Create a blog. @param {HTMLFormElement} form */
async function createBlog(form) {
  setBusy(form, true);
  const values = { ...valuesOf(form), idempotency_key: keyOf(form).value };
  const answer = await postAsking('/desk/blogs', values).finally(() => setBusy(form, false));
  if (answer.kind === 'unanswered') return explain(form, answer.content.reason ?? say('silent'));
  keyOf(form).value = newKey(); // nothing, or all, is stored with the old one
  if (answer.kind !== 'done') return explain(form, reasonOf(answer), answer.content.boxes);
  if (isSame(valuesOf(form), values)) form.reset();
  keepForm(form);
  location.assign(`/desk/blogs/${answer.content.blog.slug}?done=created`);
}

/** Load this page again. @param {string} query */
const open = (query) => location.assign(location.pathname + query);

/**
 * Fill in a colleague's saved values, unless this editor has typed.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLFormElement} fresh
 */
function refill(form, fresh) {
  if (isAltered(form) || form.hasAttribute('data-busy')) return;
  fillForm(form, valuesOf(fresh));
  rebase(form, valuesOf(fresh));
}

// -- the lists

/**
 * Add the desk's buttons to entries.
 *
 * @param {Element} root an article, or an element with articles
 */
function decorate(root) {
  for (const old of root.querySelectorAll('[data-for]')) old.remove();
  const template = one('#actions').content.firstElementChild;
  if (!template) return;
  const articles = root.matches('article') ? [root] : root.querySelectorAll('article');
  for (const article of /** @type {Iterable<HTMLElement>} */ (articles)) {
    one('.desk-actions', article)?.remove();
    article.append(buttons(article, template.cloneNode(true)));
  }
}

/**
 * Add the desk's buttons to a changed entry. Then fetch the page again, because its list of drafts
 * may still show the entry.
 *
 * @param {Element} root
 */
function arrived(root) {
  decorate(root);
  if (root !== main) stale();
}

/**
 * Warn when a new epoch means that the store has lost changes. A new time zone or language starts a
 * new epoch too, but loses nothing.
 *
 * @param {HTMLElement} page the fetched page
 * @param {string} held the position of this page before the fetched page replaces it
 */
function warnOfOlder({ dataset: now }, held) {
  const { zone, language } = main.dataset;
  const isSameForm = now.zone === zone && now.language === language;
  if (isSameForm && parse(now.position ?? '').epoch !== parse(held).epoch) showStore('older');
}

/** @param {HTMLElement} article @param {any} actions */
function buttons(article, actions) {
  const id = article.id || (article.dataset.entry ?? '');
  for (const it of actions.querySelectorAll('[href], [action]')) {
    const name = it.hasAttribute('href') ? 'href' : 'action';
    it.setAttribute(name, it.getAttribute(name).replace('ID', id));
  }
  if ('pinned' in article.dataset) unmark(one('[name=pinned]', actions), 'Unpin');
  if ('keyTitle' in article.dataset) unmark(one('[name=key]', actions), 'Not key');
  return actions;
}

/** Let a button remove an entry's mark. @param {any} box @param {string} words of the button */
function unmark(box, words) {
  box.setAttribute('value', 'false');
  box.nextElementSibling.textContent = words;
}

/** @type {any} */
let timer;

/**
 * Fetch the page after a short delay, to update the list of unpublished entries, which streams do
 * not carry. While no stream works, the fetched page also updates the feed.
 */
function reload() {
  clearTimeout(timer);
  timer = setTimeout(load, LOAD_DELAY_MS);
}

/** The versions of this page's markup and script. */
const own = [main?.dataset.version, VERSION];

/**
 * Offer to load the page again when the server has another version of it. The page never does so by
 * itself, because an editor may be writing.
 *
 * @param {string | undefined} version of the page as the server sends it now
 */
function offer(version) {
  const line = one('#version');
  if (line) line.hidden = own.every((it) => it === version);
}

async function load() {
  const order = orderOfPins();
  const url = location.pathname + location.search.replace(/[?&]done=.*/, '');
  const { status, text, redirected } = await answerOf(window, url);
  if (status === 503) askStore();
  if (redirected && one('#asking').hidden) askForSession(); // the page of the sign-in
  const page = status === 200 && parseHtml(text).querySelector('main');
  if (!page || page.dataset.blog !== slug) return;
  offer(page.dataset.version);
  showOffers();
  const parts = order === orderOfPins() ? ['#held', '#pins'] : ['#held'];
  for (const part of parts) morph(one(part), one(part, page));
  const [mine, theirs] = [one('#header'), one('#header', page)];
  if (mine && theirs) refill(mine, theirs);
  if (one('#status').dataset.state === 'live') return;
  decorate(page);
  for (const part of ['[role=feed]', '#older', 'header']) morph(one(part, main), one(part, page));
}

// -- the page

/** Press the form's main button on Cmd or Ctrl with Enter. @param {KeyboardEvent} event */
function onKey(event) {
  const box = /** @type {HTMLElement} */ (event.target);
  const form = box.closest('form');
  // In Safari, the Enter that ends a composition comes after it, with this code.
  const isComposing = event.isComposing || event.keyCode === 229;
  if (event.key !== 'Enter' || isComposing || !form || box instanceof HTMLButtonElement) return;
  if (event.metaKey || event.ctrlKey) {
    event.preventDefault();
    form.requestSubmit(one('button.primary', form));
  } else if (box instanceof HTMLInputElement && watchedOf(form) && form.id !== 'new') {
    // Enter in a headline is usually a slip, so move on to the text instead of publishing.
    event.preventDefault();
    one('.body-box', form)?.focus();
  }
}

/** Keep the texts of this page's forms, and show what is left over and what is being sent. */
async function keepTexts() {
  /** @type {NodeListOf<HTMLFormElement>} */
  const forms = document.querySelectorAll('form[data-keep]');
  for (const form of forms) watch(form, form.dataset.keep ?? '');
  hooks.answered = (...parts) => void answered(...parts);
  hooks.stopped = askForSession;
  hooks.changed = () => void Promise.all([showOffers(), queue.show()]);
  await openDesk();
  queue.onchange = (items, now) => {
    showQueue(items, now);
    for (const form of document.forms) free(form, items);
  };
  if (!dialog) await setUpEdit(); // the entry's own page
  for (const form of forms) await restoreOwn(form, showText);
  return () => Promise.all([findOffers(), slug && queue.drain()]);
}

function startBlog() {
  document.addEventListener('stale', reload);
  watchPins((form) => act(form, null));
  addEventListener(
    'visibilitychange',
    () => document.hidden || ready.then((look) => (stale(), look())),
  );
  setUpDialog(() => void showOffers());
  if (main.dataset.status === 'draft') decorate(main);
  else startLive();
  setInterval(lookAtEntry, EDIT_MS);
  setInterval(askStore, STORE_MS);
  setInterval(() => document.hidden || stale(), LOOK_MS);
}

function startLive() {
  const times = new Times(main.dataset, Date.now);
  const view = new View(main, new Feed(main, false), times, arrived);
  const live = new Live(main, view, /** @type {any} */ (window));
  live.onreplace = warnOfOlder;
  live.compare = (version) => own.every((it) => it === version) || stale();
  live.start();
}

addEventListener('error', ({ error }) => error && sayFailure(error));
addEventListener('unhandledrejection', ({ reason }) => sayFailure(reason));
const shortcut = one('.shortcut');
if (shortcut) {
  shortcut.textContent = IS_MAC ? '⌘ Enter' : 'Ctrl + Enter';
  shortcut.hidden = false;
}
document.addEventListener('keydown', onKey);
document.addEventListener('submit', onSubmit);
document.addEventListener('input', ({ target }) => keepForm(/** @type {any} */ (target).form));
document.addEventListener('input', askToPersist, { once: true });
// A page of the back-forward cache has no id that is its own; a new page restores kept texts.
addEventListener('pageshow', ({ persisted }) => persisted && isKept && location.reload());
for (const kind of ['online', 'offline']) addEventListener(kind, () => queue?.drain());
// Remove `done=` from the address: a reload must not show the notice again.
if (location.search.includes('done='))
  history.replaceState(null, '', location.pathname + location.hash);
setUpSigning();
const ready = keepTexts();
if (one('[role=feed]')) startBlog();
ready.then((look) => look());
