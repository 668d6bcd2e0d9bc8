// The page. Feed, pinned copies and key events are lists of one kind: by the entry's id, newest
// order first. Rules: idempotent. All markup is the server's, and nothing else parses it.

import { isLoaded } from './timeline.js';

/** @import {Applied, Change, Page, State, Timeline} from './types.js' */

const LISTS = ['[role=feed]', '#pinned [data-list]', '#key-events [data-list]'];

const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('liveblog', {
  createHTML: (/** @type {string} */ html) => html,
});

/** @param {string} html nothing in it runs or loads */
export function parseHtml(html) {
  const template = document.createElement('template');
  template.innerHTML = policy?.createHTML(html) ?? html;
  return template.content;
}

/**
 * Make `old` look like `fresh`, which is used up. What is equal at both ends stays itself, with
 * its focus, selection and running players.
 *
 * @param {Node} old @param {Node} fresh
 */
export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const isElements = old instanceof Element && fresh instanceof Element;
  if (!isElements || old.nodeName !== fresh.nodeName || idOf(old) !== idOf(fresh)) {
    return void old.parentNode?.replaceChild(fresh, old);
  }
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) old.setAttribute(name, value);
  morphChildren(old, [...old.childNodes], [...fresh.childNodes]);
}

/** @param {Element} parent @param {ChildNode[]} olds @param {ChildNode[]} fresh */
function morphChildren(parent, olds, fresh) {
  /** @type {ChildNode | undefined} */
  let tail;
  for (; fresh[0]?.isEqualNode(olds[0] ?? null); fresh.shift()) olds.shift();
  for (; fresh.at(-1)?.isEqualNode(olds.at(-1) ?? null); fresh.pop()) tail = olds.pop();
  fresh.forEach((node, i) => {
    if (olds[i]) morph(olds[i], node);
    else parent.insertBefore(node, tail ?? null);
  });
  for (const node of olds.slice(fresh.length)) node.remove();
}

/** @param {Element} node */
const idOf = (node) => node.id || node.getAttribute('data-entry');

/** @param {Element} node */
const orderOf = (node) => Number(node.getAttribute('data-order'));

/** @param {Element} list @param {string | null} id */
const find = (list, id) => [...list.children].find((node) => idOf(node) === id);

/** @param {Element} list @param {Element} node */
function place(list, node) {
  const old = find(list, idOf(node));
  if (old) return morph(old, node);
  const next = [...list.children].find((other) => orderOf(other) < orderOf(node));
  list.insertBefore(node, next ?? null);
}

/** @param {Element} list @param {Element[]} nodes */
function fill(list, nodes) {
  const ids = new Set(nodes.map(idOf));
  for (const old of [...list.children]) if (!ids.has(idOf(old))) old.remove();
  for (const node of nodes) place(list, node);
}

/** @param {HTMLElement} main @returns {Page} */
export function read(main) {
  const { position = '', lowest, below } = main.dataset;
  const changes = [...main.querySelectorAll('header, article')].map(change);
  return { position, changes, lowest: Number(lowest) || null, below: Number(below) || null };
}

/** @param {Element} node @returns {Change} */
function change(node) {
  const { dataset } = /** @type {HTMLElement} */ (node);
  const [offset, order] = [Number(dataset.offset), Number(dataset.order)];
  if (dataset.status) return { op: 'blog', offset, status: dataset.status };
  return { op: 'put', id: idOf(node) ?? '', offset, order };
}

/**
 * What is announced, and the countdown, which is only seen.
 *
 * @param {State} state @param {string} status @param {number} now_ms
 */
export function words({ name, retry_at }, status, now_ms) {
  if (status === 'ended') return ['Coverage has ended', ''];
  if (name === 'offline') return ['You are offline', ''];
  if (name === 'live') return [status === 'live' ? 'Live' : 'Waiting for coverage to begin', ''];
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
  /** @type {Set<string>} new entries, on an older page */
  #newer = new Set();

  /**
   * @param {HTMLElement} main @param {(root: Element) => void} decorate @param {() => number} now
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
      this.main.dataset.position = timeline.position;
      this.#settle();
    });
  }

  /** @param {HTMLElement} page another rendering's <main> */
  replace(page) {
    this.#steadily(() => {
      for (const name of ['lowest', 'below']) delete this.main.dataset[name];
      Object.assign(this.main.dataset, page.dataset);
      this.decorate(page);
      for (const part of ['header', '#newest', '#older']) {
        morph(this.#one(part), this.#one(part, page));
      }
      for (const list of LISTS) fill(this.#one(list), [...this.#one(list, page).children]);
      this.#newer.clear();
      this.#settle();
    });
  }

  /** @param {Change} it @param {Timeline} timeline */
  #change(it, timeline) {
    const [feed, pinned, keys] = LISTS.map((list) => this.#one(list));
    if (it.op === 'del') {
      for (const list of [feed, pinned, keys]) find(list, it.id)?.remove();
      return void this.#newer.delete(it.id);
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
    if (!isLoaded(timeline, it.order)) return;
    item?.firstElementChild?.setAttribute('href', `#${it.id}`);
    place(feed, node);
  }

  #settle() {
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

  /** Keep what is read in place, once the feed's top is out of sight. @param {() => void} change */
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
