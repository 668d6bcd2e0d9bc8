// The desk: a form that publishes, and below it a list that is live like the readers' page.
// Rules: markup comes from the server or its templates; a box is emptied only after a 201.

import { entryFields, headerFields, isEmpty } from './form.js';
import { dialog, edit, watchEdit } from './edit.js';
import {
  askStore,
  boxOf,
  call,
  explain,
  keep,
  kept,
  keyOf,
  main,
  newKey,
  onSubmit,
  one,
  SAID,
  say,
  setBusy,
  showStore,
  slug,
  stale,
  STORE_MS,
  valuesOf,
  write,
} from './send.js';
import { Live } from '../live.js';
import { morph, parseHtml } from '../morph.js';
import { parse } from '../timeline.js';

/** @import {Entry, Values} from './form.js' */
/** @import {Answer} from './send.js' */

const KEEP_MS = 1_000;
/** Several changes of one moment make one look at the page. */
const REFRESH_MS = 150;
/** Colleagues' drafts come by no stream. */
const LOOK_MS = 30_000;
const LOAD_MS = 10_000;

// -- a new entry

/** @param {HTMLFormElement} form */
function compose(form) {
  const blank = valuesOf(form);
  const found = isEmpty(blank) ? kept('new') : null;
  if (found) {
    for (const [name, text] of Object.entries(found.values)) write(form, name, text);
    keyOf(form).value = found.key;
    say(
      [one('#notice').innerText.trim(), 'What you had not published is back in its box.'].join(' '),
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
  setInterval(() => keep('new', form), KEEP_MS);
}

/**
 * Empty the boxes of what is published now. What was typed since it was sent stays; so does the
 * byline, since the next entry is mostly by the same people.
 *
 * @param {HTMLFormElement} form
 * @param {Values} sent
 * @param {Entry} entry
 */
function clear(form, sent, entry) {
  for (const [name, text] of Object.entries(valuesOf(form))) {
    if (name !== 'byline' && text === sent[name]) write(form, name, '');
  }
  keyOf(form).value = newKey();
  keep('new', form);
  say(SAID[entry.status]);
  boxOf(form, 'body')?.focus();
}

// -- small buttons: pin, key, publish, delete, undo

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
  if (outcome.kind !== 'done') say(outcome.reason.replace(/ Your text is kept here\./, ''));
  else if (what === 'delete') say('Deleted.', id);
  else if (what === 'restore') say('Restored.');
  else if (what === 'status') say(SAID[content.status]);
  if (what === 'delete' && outcome.kind === 'done' && dialog.open) dialog.close();
  stale();
}

/** @param {string} what @param {string} path @param {Values} values @returns {Promise<Answer>} */
function acted(what, path, { revision, ...values }) {
  if (what === 'delete') return call('DELETE', path, null);
  if (what === 'restore') return call('POST', `${path}/restore`, null);
  const headers = /** @type {Record<string, string>} */ (
    revision ? { 'If-Match': `"${revision}"` } : {}
  );
  return call('PATCH', path, entryFields(values, 'UTC'), headers);
}

// -- the blog's header

/** What the server filled the boxes of a form with. @type {WeakMap<HTMLFormElement, Values>} */
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
    // Another status has other forms, and begins or ends the stream.
    if (!isWhole || values.status !== stated) return open(`?done=${form.dataset.header}`);
    filled.set(form, values);
    say('The header is saved.');
    stale();
  });
}

/**
 * Take over what a colleague saved, in the boxes that are left alone here.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLFormElement} fresh
 */
function refill(form, fresh) {
  const [mine, before, theirs] = [valuesOf(form), filled.get(form) ?? {}, valuesOf(fresh)];
  for (const [name, text] of Object.entries(theirs)) {
    if (mine[name] === before[name]) write(form, name, text);
    else theirs[name] = before[name];
  }
  filled.set(form, theirs);
}

/** @param {string} query loads this desk anew */
function open(query) {
  const form = one('#compose');
  if (form) keep('new', form);
  location.assign(location.pathname + query);
}

// -- the lists

/** @param {Element} root gives the articles in it their buttons */
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

/** @param {Element} root that a change brought, which may have come from what is not published */
function arrived(root) {
  decorate(root);
  if (root !== main) stale();
}

/**
 * Say so when what is held is gone from the store. Another zone or language begins a new epoch, too.
 *
 * @param {HTMLElement} page
 * @param {string} held
 */
function startOver({ dataset: now }, held) {
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

/** @param {HTMLInputElement} box @param {boolean} isSet @param {string} undo */
function toggle(box, isSet, undo) {
  if (!isSet) return;
  box.setAttribute('value', 'false');
  const button = box.form?.querySelector('button') ?? box.nextElementSibling;
  if (button) button.textContent = undo;
}

/** @type {any} */
let timer;

/** Look for what no stream tells: what is not published, and all of a blog without a stream. */
function refresh() {
  clearTimeout(timer);
  timer = setTimeout(load, REFRESH_MS);
}

async function load() {
  const answer = await fetch(location.pathname + location.search.replace(/[?&]done=.*/, ''), {
    signal: AbortSignal.timeout(LOAD_MS),
  }).catch(() => null);
  if (answer?.status === 503) showStore('down');
  const page = answer?.ok && parseHtml(await answer.text()).querySelector('main');
  if (!page || page.dataset.blog !== slug) return;
  morph(one('#held'), one('#held', page));
  const [mine, theirs] = [one('#header'), one('#header', page)];
  if (mine && theirs) refill(mine, theirs);
  if (one('#status').dataset.state === 'live') return;
  decorate(page);
  for (const part of ['[role=feed]', '#older', 'header']) morph(one(part, main), one(part, page));
}

// -- the page

/** @param {KeyboardEvent} event */
function onKey(event) {
  const box = /** @type {HTMLElement} */ (event.target);
  const form = box.closest('form');
  if (event.key !== 'Enter' || event.isComposing || !form || box instanceof HTMLButtonElement)
    return;
  if (event.metaKey || event.ctrlKey) {
    event.preventDefault();
    form.requestSubmit(one('button.primary', form));
  } else if (box instanceof HTMLInputElement && one('.body-box', form)) {
    // Enter in a headline is a slip of the hand more often than a wish to publish.
    event.preventDefault();
    one('.body-box', form).focus();
  }
}

function start() {
  for (const form of document.querySelectorAll('form[data-header]'))
    header(/** @type {any} */ (form));
  compose(one('#compose'));
  document.addEventListener('stale', refresh);
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
  addEventListener('visibilitychange', () => document.hidden || stale());
  if (main.dataset.status === 'draft') decorate(main);
  else new Live(main, { decorate: arrived, startOver }).start();
  setInterval(askStore, STORE_MS);
  setInterval(() => document.hidden || stale(), LOOK_MS);
}

const shortcut = one('.shortcut');
if (shortcut) {
  shortcut.textContent = /Mac|iP/.test(navigator.platform) ? '⌘ Enter' : 'Ctrl + Enter';
  shortcut.hidden = false;
}
document.addEventListener('keydown', onKey);
// A reload must not say again what was done.
if (location.search.includes('done='))
  history.replaceState(null, '', location.pathname + location.hash);
if (slug) start();
