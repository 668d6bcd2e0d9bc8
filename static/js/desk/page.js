// The desk's page of a blog: a form for new entries, and a feed that is live like the reader's
// page.
// Rules: all markup comes from the server or its templates. Only the API's answer 201 empties a
// box, because then the text is stored.

import { entryFields, headerFields, isEmpty } from './form.js';
import { dress } from './compose.js';
import { dialog, edit, watchEdit } from './edit.js';
import {
  boxOf,
  explain,
  keyOf,
  main,
  newKey,
  onSubmit,
  one,
  NOTICES,
  notify,
  setBusy,
  slug,
  stale,
  valuesOf,
  fillBox,
} from './boxes.js';
import { askStore, call, showStore, STORE_MS } from './send.js';
import { keep, kept } from './unsent.js';
import { Feed } from '../feed.js';
import { Live } from '../live.js';
import { morph, parseHtml } from '../morph.js';
import { Times } from '../time.js';
import { parse } from '../timeline.js';
import { VERSION } from '../version.js';
import { View } from '../view.js';

/** @import {Entry, Values} from './form.js' */
/** @import {Answer} from './send.js' */

const KEEP_MS = 1_000;
/** The page is fetched this long after a change, so that quick changes share one fetch. */
const LOAD_DELAY_MS = 150;
/** The time between two fetches of the page, to find new drafts: streams do not carry drafts. */
const LOOK_MS = 30_000;
const LOAD_MS = 10_000;

// -- a new entry

/** @param {HTMLFormElement} form */
function compose(form) {
  const blank = valuesOf(form);
  const found = isEmpty(blank) ? kept('new') : null;
  if (found) {
    for (const [name, text] of Object.entries(found.values)) fillBox(form, name, text);
    keyOf(form).value = found.key;
    notify(
      [one('#notice').innerText.trim(), 'Your unpublished text was restored.'].join(' '),
    );
  }
  onSubmit(form, async (values) => {
    const all = entryFields(values, form.dataset.zone ?? 'UTC');
    const fields = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
    const key = keyOf(form).value;
    const { outcome, content } = await call('POST', '/entries', fields, { 'Idempotency-Key': key });
    explain(form, outcome);
    if (outcome.kind === 'already') keyOf(form).value = newKey();
    if (outcome.kind === 'done') clear(form, values, content);
    if (outcome.kind === 'done' || outcome.kind === 'already') stale();
  });
  const keepNew = () => keep('new', form);
  setInterval(keepNew, KEEP_MS);
  addEventListener('pagehide', keepNew);
}

/**
 * Empty the boxes after publishing. Text that the editor typed during the request stays. The byline
 * stays too, because the next entry usually has the same authors.
 *
 * @param {HTMLFormElement} form
 * @param {Values} sent
 * @param {Entry} entry
 */
function clear(form, sent, entry) {
  for (const [name, text] of Object.entries(valuesOf(form))) {
    if (name !== 'byline' && text === sent[name]) fillBox(form, name, '');
  }
  keyOf(form).value = newKey();
  form.dispatchEvent(new Event('filled'));
  keep('new', form);
  notify(NOTICES[entry.status]);
  boxOf(form, 'body')?.focus();
}

// -- the buttons of an entry: pin, mark as a key event, publish, delete, undo a deletion

/** @param {SubmitEvent} event */
async function act(event) {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const { do: what } = form.dataset;
  if (!what) return;
  event.preventDefault();
  if (form.hasAttribute('data-busy')) return;
  const [, path = '', id = ''] = /(\/entries\/(e[0-9a-z]+))/.exec(form.action) ?? [];
  setBusy(form, true);
  const { outcome, content } = await acted(what, path, valuesOf(form)).finally(() =>
    setBusy(form, false),
  );
  if (outcome.kind !== 'done') notify(outcome.reason.replace(/ Your text is safe here\./, ''));
  else if (what === 'delete') notify('Deleted.', id);
  else if (what === 'restore') notify('Restored.');
  else if (what === 'status') notify(NOTICES[content.status]);
  if (what === 'delete' && outcome.kind === 'done' && dialog.open) dialog.close();
  stale();
}

/**
 * Call the API for a button of an entry.
 *
 * @param {string} what `delete` or `restore`; `mark` or `status` for a change of the entry's fields
 * @param {string} path of the entry in the API @param {Values} values @returns {Promise<Answer>}
 */
function acted(what, path, { revision, ...values }) {
  if (what === 'delete') return call('DELETE', path, null);
  if (what === 'restore') return call('POST', `${path}/restore`, null);
  const headers = /** @type {Record<string, string>} */ (
    revision ? { 'If-Match': `"${revision}"` } : {}
  );
  return call('PATCH', path, entryFields(values, 'UTC'), headers);
}

// -- the blog's header

/** The values that the server filled into each form. @type {WeakMap<HTMLFormElement, Values>} */
const filled = new WeakMap();

/** @param {HTMLFormElement} form */
function header(form) {
  filled.set(form, valuesOf(form));
  const isWhole = form.id === 'header';
  onSubmit(form, async (values) => {
    const before = filled.get(form) ?? {};
    const { status: stated = '', ...links } = before;
    const fields = headerFields(values, isWhole ? before : links);
    const key = { 'Idempotency-Key': keyOf(form).value };
    const { outcome } = await call('PATCH', '', fields, key);
    explain(form, outcome);
    if (outcome.kind !== 'unknown') keyOf(form).value = newKey();
    if (outcome.kind !== 'done') return;
    // The status has changed. Load the page again: it then has the forms for the new status, and
    // starts or ends the stream.
    if (!isWhole || values.status !== stated) return open(`?done=${form.dataset.header}`);
    filled.set(form, values);
    notify('Header saved.');
    stale();
  });
}

/**
 * Fill in a colleague's saved values, except in the boxes that this editor has changed.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLFormElement} fresh
 */
function refill(form, fresh) {
  const [mine, before, theirs] = [valuesOf(form), filled.get(form) ?? {}, valuesOf(fresh)];
  for (const [name, text] of Object.entries(theirs)) {
    if (mine[name] === before[name]) fillBox(form, name, text);
    else theirs[name] = before[name];
  }
  filled.set(form, theirs);
}

/** Save the unsent text, then load this page again. @param {string} query */
function open(query) {
  const form = one('#compose');
  if (form) keep('new', form);
  location.assign(location.pathname + query);
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
  const { pinned, keyTitle } = article.dataset;
  toggle(one('[name=pinned]', actions), pinned !== undefined, 'Unpin');
  toggle(one('[name=key]', actions), keyTitle !== undefined, 'Not key');
  return actions;
}

/**
 * Let the button that pins an entry unpin a pinned entry, and likewise for key events.
 *
 * @param {HTMLInputElement} box @param {boolean} isSet whether the entry is pinned, or a key event
 * @param {string} undo the button's text when `isSet`
 */
function toggle(box, isSet, undo) {
  if (!isSet) return;
  box.setAttribute('value', 'false');
  const button = box.form?.querySelector('button') ?? box.nextElementSibling;
  if (button) button.textContent = undo;
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
  const answer = await fetch(location.pathname + location.search.replace(/[?&]done=.*/, ''), {
    signal: AbortSignal.timeout(LOAD_MS),
  }).catch(() => null);
  if (answer?.status === 503) askStore();
  const page = answer?.ok && parseHtml(await answer.text()).querySelector('main');
  if (!page || page.dataset.blog !== slug) return;
  offer(page.dataset.version);
  morph(one('#held'), one('#held', page));
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
  if (event.key !== 'Enter' || event.isComposing || !form || box instanceof HTMLButtonElement)
    return;
  if (event.metaKey || event.ctrlKey) {
    event.preventDefault();
    form.requestSubmit(one('button.primary', form));
  } else if (box instanceof HTMLInputElement && one('.body-box', form)) {
    // Enter in a headline is usually a slip, so move on to the text instead of publishing.
    event.preventDefault();
    one('.body-box', form).focus();
  }
}

function start() {
  for (const form of document.querySelectorAll('form[data-header]'))
    header(/** @type {any} */ (form));
  compose(one('#compose'));
  document.addEventListener('stale', reload);
  document.addEventListener('submit', act);
  document.addEventListener('click', (event) => {
    const link = /** @type {Element} */ (event.target).closest('[data-do=edit]');
    const isPlain = !(event.metaKey || event.ctrlKey || event.shiftKey);
    if (!link || !isPlain) return;
    event.preventDefault();
    edit(/** @type {HTMLAnchorElement} */ (link).href);
  });
  dialog.addEventListener('click', (event) => {
    if (!(/** @type {Element} */ (event.target).closest('[data-close]'))) return;
    event.preventDefault();
    dialog.close();
  });
  dialog.addEventListener('close', () => dialog.replaceChildren());
  setInterval(watchEdit, KEEP_MS);
  addEventListener('pagehide', watchEdit);
  addEventListener('visibilitychange', () => document.hidden || stale());
  if (main.dataset.status === 'draft') decorate(main);
  else startLive();
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

const shortcut = one('.shortcut');
if (shortcut) {
  shortcut.textContent = /Mac|iP/.test(navigator.platform) ? '⌘ Enter' : 'Ctrl + Enter';
  shortcut.hidden = false;
}
document.addEventListener('keydown', onKey);
// Remove `done=` from the address: a reload must not show the notice again.
if (location.search.includes('done='))
  history.replaceState(null, '', location.pathname + location.hash);
if (slug) start();
for (const form of document.querySelectorAll('.entry-form')) dress(/** @type {any} */ (form));
