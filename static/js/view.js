// The page. Feed, pinned copies and key events are lists of one kind: by the entry's id and order.
// Rules: idempotent. What a script has set on an entry outlives its edits (OWN).

import { idOf, isHostile, morph, parseHtml } from './morph.js';
import { isLoaded } from './timeline.js';

/** @import {Applied, Change, Page, State, Timeline, ViewParts} from './types.js' */

const LISTS = ['[role=feed]', '#pinned [data-list]', '#key-events [data-list]'];
const OWN = ['class', 'hidden', 'tabindex', 'data-unread', 'data-day'];
/** What is kept in place, in entries that are in sight. */
const LINES = '.when, h3, .body > *';
const READ_MAX = 10;

/** @param {Element} node */
const orderOf = (node) => Number(node.getAttribute('data-order'));

/** @param {Element} list @param {string | null} id */
const find = (list, id) => [...list.children].find((node) => idOf(node) === id);

/** @param {Element} list @param {Element} node @param {boolean} [isUp] the lowest order first */
function place(list, node, isUp) {
  const old = find(list, idOf(node));
  if (old) {
    for (const name of OWN) {
      const value = old.getAttribute(name);
      if (value !== null) node.setAttribute(name, value);
    }
    return morph(old, node);
  }
  const isNext = (/** @type {Element} */ it) => orderOf(it) < orderOf(node) !== !!isUp;
  list.insertBefore(node, [...list.children].find(isNext) ?? null);
}

/** @param {HTMLElement} main @param {string} [nodes] @returns {Page} */
export function read(main, nodes = 'header, article') {
  const { position = '', lowest, below } = main.dataset;
  const changes = [...main.querySelectorAll(nodes)].map(change);
  return { position, changes, lowest: Number(lowest) || null, below: Number(below) || null };
}

/** @param {Element} node @returns {Change} */
function change(node) {
  const { dataset } = /** @type {HTMLElement} */ (node);
  const [offset, order] = [Number(dataset.offset), Number(dataset.order)];
  if (dataset.status) return { op: 'blog', offset, status: dataset.status };
  return { op: 'put', id: idOf(node) ?? '', offset, order };
}

/** @param {Change} it @returns {HTMLElement | null} null also for what does not fit the change */
export function nodeOf(it) {
  if (it.op === 'del') return null;
  const content = parseHtml(it.html ?? '');
  const node = /** @type {HTMLElement | null} */ (content.firstElementChild);
  const fits = it.op === 'blog' ? node?.matches('header[data-status]') : node?.id === it.id;
  return fits && content.childElementCount === 1 && !isHostile(content) ? node : null;
}

/**
 * What is announced, and the countdown, which is only seen.
 *
 * @param {State} state @param {string} status @param {number} now_ms
 */
export function words({ name, retry_at }, status, now_ms) {
  if (status === 'ended') return ['Coverage has ended', ''];
  if (name === 'paused') return ['Paused', ''];
  if (name === 'offline') return ['You are offline', ''];
  if (name === 'live') return [status === 'live' ? 'Live' : 'Waiting for coverage to begin', ''];
  if (!retry_at) return ['No live updates, reload the page', ''];
  const wait_s = Math.ceil((retry_at - now_ms) / 1_000);
  return ['Connection lost', wait_s > 0 ? `, retrying in ${wait_s} s` : ', retrying'];
}

/** @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} node */
const top = (node) => node.getBoundingClientRect().top;

/** @param {Element[]} nodes one below the other @param {number} height @returns those not above it */
function below(nodes, height) {
  let [from, to] = [0, nodes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (nodes[middle].getBoundingClientRect().bottom > height) to = middle;
    else from = middle + 1;
  }
  return nodes.slice(from);
}

export class View {
  /** @type {State | null} */
  #state = null;
  /** @type {[Applied, (HTMLElement | null)[]][]} to be shown with the next paint */
  #queue = [];

  /** @param {HTMLElement} main @param {ViewParts} parts */
  constructor(main, { decorate, settled, arrivals }) {
    this.main = main;
    this.decorate = decorate;
    this.settled = settled;
    this.arrivals = arrivals;
  }

  /** @param {string} selector @returns {HTMLElement} */
  #one(selector, root = this.main) {
    return /** @type {any} */ (root.querySelector(selector));
  }

  get feed() {
    return this.#one(LISTS[0]);
  }

  get #isUp() {
    return this.main.dataset.first === 'oldest';
  }

  /** @param {Applied} applied @param {(HTMLElement | null)[]} nodes of its changes */
  apply(applied, nodes) {
    this.#queue.push([applied, nodes]);
    if (document.hidden) this.#flush(); // nothing is painted, so nothing would be shown
    else if (this.#queue.length === 1) requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    const queue = this.#queue;
    const timeline = queue.at(-1)?.[0].timeline;
    this.#queue = [];
    if (!timeline) return;
    this.steadily((isShown) => {
      for (const [{ changes }, nodes] of queue) {
        changes.forEach((it, i) => this.#change(it, nodes[i], timeline));
      }
      this.#arrive(queue.flatMap(([{ fresh }]) => fresh), timeline, isShown);
      this.main.dataset.position = timeline.position;
      this.settle();
    });
  }

  /** @param {string[]} ids @param {Timeline} timeline @param {boolean} isShown or they wait */
  #arrive(ids, { latest, below }, isShown) {
    for (const id of ids) {
      const put = latest.get(id);
      if (put?.op !== 'put') continue;
      const node = find(this.feed, id);
      if (node && isShown) node.classList.add('fresh');
      else if (node) node.toggleAttribute('hidden', true);
      else if (below) this.arrivals?.note(id, put.order);
    }
    this.arrivals?.count(ids.length);
  }

  /**
   * Entries below its lowest stay, to be loaded anew.
   *
   * @param {HTMLElement} page another rendering's <main> @param {Timeline} timeline of it
   */
  replace(page, timeline) {
    this.#queue = [];
    this.steadily((isShown) => {
      const newest = this.#newest;
      for (const name of ['lowest', 'below']) delete this.main.dataset[name];
      Object.assign(this.main.dataset, page.dataset);
      this.decorate(page);
      for (const part of ['header', '#newest', '#older']) {
        morph(this.#one(part), this.#one(part, page));
      }
      for (const list of LISTS) {
        const from = list === LISTS[0] ? timeline.lowest : 0;
        this.#fill(this.#one(list), [...this.#one(list, page).children], from ?? 0);
      }
      this.#arriveAfter(newest, timeline, isShown);
    });
  }

  /**
   * Entries with orders outside of the bounds stay.
   *
   * @param {Element} list @param {Element[]} nodes @param {number} [from] @param {number} [to]
   */
  #fill(list, nodes, from = 0, to = Infinity) {
    const ids = new Set(nodes.map(idOf));
    for (const old of [...list.children]) {
      const order = orderOf(old);
      if (order >= from && order < to && !ids.has(idOf(old))) old.remove();
    }
    for (const node of nodes) place(list, node, list === this.feed && this.#isUp);
  }

  /** @param {number} order @param {Timeline} timeline @param {boolean} isShown */
  #arriveAfter(order, timeline, isShown) {
    const fresh = this.#shown.filter((node) => orderOf(node) > order);
    this.#arrive(fresh.map((node) => node.id), timeline, isShown);
    this.settle();
  }

  /** The highest order that is shown. */
  get #newest() {
    return Math.max(0, ...this.#shown.map(orderOf));
  }

  get #shown() {
    return [...this.feed.children].filter((node) => !node.hasAttribute('hidden'));
  }

  /** The lowest order in the feed. */
  get lowest() {
    return Math.min(...[...this.feed.children].map(orderOf));
  }

  /** Remove what is older than what is loaded. @param {Timeline} timeline */
  prune({ lowest }) {
    for (const node of [...this.feed.children]) if (orderOf(node) < (lowest ?? 0)) node.remove();
  }

  /** @param {HTMLElement} page the next older one @param {Timeline} timeline with it */
  extend(page, timeline) {
    this.steadily((isShown) => {
      const newest = this.#newest;
      this.decorate(page);
      const nodes = [...this.#one(LISTS[0], page).children].filter((node) => {
        const latest = timeline.latest.get(node.id);
        return latest?.op === 'put' && latest.offset <= Number(node.getAttribute('data-offset'));
      });
      const { lowest } = this.main.dataset;
      this.#fill(this.feed, nodes, timeline.lowest ?? 0, Number(lowest));
      morph(this.#one('#older'), this.#one('#older', page));
      if (timeline.lowest) this.main.dataset.lowest = `${timeline.lowest}`;
      else delete this.main.dataset.lowest;
      this.#arriveAfter(newest, timeline, isShown); // of those missed, after a reset
    });
  }

  /** @param {Change} it @param {HTMLElement | null} node @param {Timeline} timeline */
  #change(it, node, timeline) {
    const [feed, pinned, keys] = LISTS.map((list) => this.#one(list));
    if (it.op === 'del') {
      for (const list of [feed, pinned, keys]) find(list, it.id)?.remove();
      return void this.arrivals?.forget(it.id);
    }
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
    if (isLoaded(timeline, it.order)) place(feed, node, this.#isUp);
  }

  /** Bring what depends on the lists up to date. */
  settle() {
    this.settled();
    this.arrivals?.settle();
    this.tick();
  }

  /** @param {State} state */
  show(state) {
    this.#state = state;
    this.tick();
  }

  /** The countdown goes on. */
  tick() {
    if (!this.#state) return;
    const { status = '' } = this.#one('header').dataset;
    const element = this.#one('#status');
    element.dataset.state = status === 'ended' ? status : this.#state.name;
    const texts = words(this.#state, status, Date.now());
    texts.forEach((text, i) => write(element.children[i], text));
  }

  /**
   * Keep what is read in place while something changes.
   *
   * @param {(isShown: boolean) => void} change told whether new entries are shown at once
   */
  steadily(change) {
    const kept = scrollY > 0 ? this.#read() : [];
    const tops = kept.map(top);
    change(this.arrivals?.isOpen() ?? true);
    const i = kept.findIndex((node) => node.isConnected);
    if (kept[i]) scrollBy({ top: top(kept[i]) - tops[i], behavior: 'instant' });
  }

  /** What is in sight, first what is in the middle; the feed only once its top is out of sight. */
  #read() {
    const above = [...this.main.querySelectorAll('header > *, #pinned article')];
    const nodes = below(top(this.feed) < 0 ? this.#shown : above, 0).slice(0, READ_MAX);
    const lines = nodes.slice(0, READ_MAX / 2).flatMap((it) => [...it.querySelectorAll(LINES)]);
    return [...below(lines, innerHeight / 2), ...nodes];
  }
}
