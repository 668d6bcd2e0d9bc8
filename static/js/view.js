// The page: puts what changed where it belongs and keeps what is being read where it is.
// Feed, pinned copies and key events are lists of one kind: children with a key (the entry's id)
// and an order, newest first. All markup is the server's.
// Rules: rendering is idempotent. Nothing else parses HTML.

import { isLoaded } from './timeline.js';

/** @import {Applied, Change, State, Timeline} from './types.js' */

const LISTS = ['[role=feed]', '#pinned [data-list]', '#key-events [data-list]'];

const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('liveblog', {
  createHTML: (/** @type {string} */ html) => html,
});

/** @param {string} html parsed without running or loading anything in it */
export function parseHtml(html) {
  const template = document.createElement('template');
  template.innerHTML = policy?.createHTML(html) ?? html;
  return template.content;
}

/**
 * Make an old node look like a fresh one, which is used up. What is equal at both ends stays
 * itself, with its focus, selection and running players.
 *
 * @param {Node} old
 * @param {Node} fresh
 */
export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const isSame = old.nodeName === fresh.nodeName && idOf(old) === idOf(fresh);
  if (!isSame || !(old instanceof Element && fresh instanceof Element)) {
    old.parentNode?.replaceChild(fresh, old);
    return;
  }
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
  morphChildren(old, [...old.childNodes], [...fresh.childNodes]);
}

/**
 * @param {Element} parent
 * @param {ChildNode[]} olds
 * @param {ChildNode[]} fresh
 */
function morphChildren(parent, olds, fresh) {
  while (olds[0] && fresh[0]?.isEqualNode(olds[0])) [olds, fresh] = [olds.slice(1), fresh.slice(1)];
  /** @type {ChildNode | undefined} */
  let tail;
  while (olds.at(-1) && fresh.at(-1)?.isEqualNode(olds.at(-1) ?? null)) {
    tail = olds.pop();
    fresh.pop();
  }
  fresh.forEach((node, i) => {
    if (olds[i]) morph(olds[i], node);
    else parent.insertBefore(node, tail ?? null);
  });
  for (const node of olds.slice(fresh.length)) node.remove();
}

/** @param {Node} node */
const idOf = (node) => (node instanceof Element ? node.id || node.getAttribute('data-entry') : '');

/** @param {Element} node */
const orderOf = (node) => Number(node.getAttribute('data-order'));

/** @param {Element} list @param {string | null} id */
const find = (list, id) => [...list.children].find((node) => idOf(node) === id);

/** @param {Element} list @param {Element} node goes in by its order, or onto its older self */
function place(list, node) {
  const old = find(list, idOf(node));
  if (old) return morph(old, node);
  const next = [...list.children].find((other) => orderOf(other) < orderOf(node));
  list.insertBefore(node, next ?? null);
}

/** @param {Element} list @param {Element[]} nodes all that it is to hold */
function fill(list, nodes) {
  const ids = new Set(nodes.map(idOf));
  for (const old of [...list.children]) if (!ids.has(idOf(old))) old.remove();
  for (const node of nodes) place(list, node);
}

/** @param {HTMLElement} main @returns what it holds, as `timeline.create` takes it */
export function read({ dataset, children }) {
  const number = (/** @type {string | undefined} */ text) => (text ? Number(text) : null);
  /** @type {Change[]} */
  const changes = [];
  for (const part of children) {
    if (part.tagName === 'HEADER') changes.push(change(part));
    for (const article of part.querySelectorAll('article')) changes.push(change(article));
  }
  const { position = '', lowest, below } = dataset;
  return { position, changes, lowest: number(lowest), below: number(below) };
}

/** @param {Element} node @returns {Change} */
function change(node) {
  const { offset, order, revision, keyTitle, pinned, status } = /** @type {any} */ (node).dataset;
  const [key, isPinned] = [keyTitle !== undefined, pinned !== undefined];
  if (status) return { op: 'blog', offset: +offset, status };
  const numbers = { offset: +offset, order: +order, revision: +revision };
  return { op: 'put', id: idOf(node) ?? '', ...numbers, key, pinned: isPinned };
}

/**
 * @param {State} state
 * @param {string} status the blog's
 * @param {number} now_ms
 * @returns {[string, string]} what is announced, and the countdown, which is only seen
 */
export function words({ name, retry_at }, status, now_ms) {
  if (status === 'ended') return ['Coverage has ended', ''];
  if (name === 'offline') return ['You are offline', ''];
  if (name === 'live') return [status === 'upcoming' ? 'Waiting for coverage to begin' : 'Live', ''];
  if (!retry_at) return ['No live updates, reload the page', ''];
  const wait_s = Math.ceil((retry_at - now_ms) / 1_000);
  return ['Connection lost', wait_s > 0 ? `, retrying in ${wait_s} s` : ', retrying'];
}

/** @param {Element} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} node */
const top = (node) => node.getBoundingClientRect().top;

export class View {
  /** @type {State | null} */
  #state = null;
  /** @type {Set<string>} new entries that this page, an older one, does not hold */
  #newer = new Set();

  /**
   * @param {HTMLElement} main
   * @param {(root: Element) => void} decorate completes the server's HTML: times, buttons
   * @param {() => number} now
   */
  constructor(main, decorate, now) {
    this.main = main;
    this.decorate = decorate;
    this.now = now;
  }

  /** @param {string} selector @returns {HTMLElement} */
  #one(selector, root = this.main) {
    return /** @type {any} */ (root.querySelector(selector));
  }

  /** @param {Applied} applied */
  apply({ timeline, changes, fresh }) {
    this.#steadily(() => {
      for (const it of changes) this.#change(it, timeline);
      for (const id of fresh) {
        if (timeline.below) this.#newer.add(id);
        find(this.#one(LISTS[0]), id)?.classList.add('fresh');
      }
      this.#settle(timeline.position);
    });
  }

  /** @param {HTMLElement} page another rendering's <main>; what is the same here stays itself */
  replace(page) {
    this.#steadily(() => {
      this.decorate(page);
      for (const part of ['header', '#newest', '#older']) {
        morph(this.#one(part), this.#one(part, page));
      }
      for (const list of LISTS) fill(this.#one(list), [...this.#one(list, page).children]);
      for (const name of ['lowest', 'below']) delete this.main.dataset[name];
      Object.assign(this.main.dataset, page.dataset);
      this.#newer.clear();
      this.#settle(page.dataset.position ?? '');
    });
  }

  /** @param {Change} it @param {Timeline} timeline */
  #change(it, timeline) {
    const [feed, pinned, keys] = LISTS.map((list) => this.#one(list));
    if (it.op === 'del') {
      for (const list of [feed, pinned, keys]) find(list, it.id)?.remove();
      this.#newer.delete(it.id);
      return;
    }
    const node = parseHtml(it.html ?? '').firstElementChild;
    if (!node) return;
    this.decorate(node);
    if (it.op === 'blog') return morph(this.#one('header'), node);
    const item = node.querySelector('template')?.content.firstElementChild;
    const copy = /** @type {Element} */ (node.cloneNode(true));
    copy.removeAttribute('id');
    copy.setAttribute('data-entry', it.id);
    if (item) this.decorate(item);
    if (it.key && item) place(keys, item);
    else find(keys, it.id)?.remove();
    if (it.pinned) place(pinned, copy);
    else find(pinned, it.id)?.remove();
    if (isLoaded(timeline, it.order)) place(feed, node);
  }

  /** @param {string} position for everybody to see */
  #settle(position) {
    this.main.dataset.position = position;
    for (const list of LISTS.slice(1)) {
      const { children, parentElement } = this.#one(list);
      if (parentElement) parentElement.hidden = !children.length;
    }
    const count = this.#newer.size;
    if (count) write(this.#one('#newest a'), `${count} new update${count > 1 ? 's' : ''}`);
    this.#showStatus();
  }

  /** @param {State} state */
  show(state) {
    this.#state = state;
    this.#showStatus();
  }

  /** Move the countdown on. */
  tick() {
    if (this.#state?.retry_at) this.#showStatus();
  }

  #showStatus() {
    if (!this.#state) return;
    const { status = '' } = this.#one('header').dataset;
    const element = this.#one('#status');
    element.dataset.state = status === 'ended' ? status : this.#state.name;
    const texts = words(this.#state, status, this.now());
    texts.forEach((text, i) => write(element.children[i], text));
    element.toggleAttribute('data-urgent', !!texts[1]);
  }

  /**
   * While the feed's top is out of sight, keep the first entry in sight that stays. By hand:
   * Safari has no scroll anchoring (the style sheet turns that of the others off).
   *
   * @param {() => void} change
   */
  #steadily(change) {
    const feed = this.#one(LISTS[0]);
    const nodes = top(feed) < 0 ? [...feed.children] : [];
    const inSight = nodes.filter((node) => node.getBoundingClientRect().bottom > 0);
    const tops = inSight.map(top);
    change();
    const i = inSight.findIndex((node) => node.isConnected);
    if (i >= 0) scrollBy({ top: top(inSight[i]) - tops[i], behavior: 'instant' });
  }
}
