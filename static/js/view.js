// The page. Feed, pinned copies and key events are lists of one kind: by the entry's id and order.
// Rules: idempotent. What a script has set on an entry outlives its edits (OWN).

import { idOf, isHostile, morph, parseHtml } from './morph.js';
import { steadily } from './steady.js';
import { isLoaded } from './timeline.js';

/** @import {Applied, Change, Page, State, Timeline, ViewParts} from './types.js' */

const FEED = '[role=feed]';
const PINNED = '#pinned [data-list]';
const KEYS = '#key-events [data-list]';
const OWN = ['class', 'hidden', 'tabindex', 'data-unread', 'data-day'];

/** @param {Element} node */
const orderOf = (node) => Number(node.getAttribute('data-order'));

/** @param {Element} list @param {any} id @returns {HTMLElement | null} */
function find(list, id) {
  const node = document.getElementById(id);
  return node?.parentElement === list ? node : list.querySelector(`:scope > [data-entry="${id}"]`);
}

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
  const order = orderOf(node);
  let next = list.firstElementChild;
  while (next && orderOf(next) > order === !isUp) next = next.nextElementSibling;
  list.insertBefore(node, next);
}

/** @param {HTMLElement} main @param {string} [nodes] @returns {Page} */
export function read(main, nodes = 'header, article') {
  const { position = '', lowest, below } = main.dataset;
  const changes = [...main.querySelectorAll(nodes)].map(changeOf);
  return { position, changes, lowest: Number(lowest) || null, below: Number(below) || null };
}

/** @param {Element} node @returns {Change} */
function changeOf(node) {
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

export class View {
  /** @type {State | null} */
  #state = null;
  /** @type {[Applied, (HTMLElement | null)[]][]} to be shown with the next paint */
  #queue = [];
  /** Entries of a higher order that come from pages were not seen yet. */
  #seen = Infinity;

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
    return this.#one(FEED);
  }

  get #shown() {
    return [...this.feed.children].filter((node) => !node.hasAttribute('hidden'));
  }

  /** The lowest order in the feed. */
  get lowest() {
    return Math.min(...[...this.feed.children].map(orderOf));
  }

  /**
   * Keep what is read in place; at the very top of the page that is the page itself.
   *
   * @param {() => void} change @param {boolean} [isOpen] new entries push the rest down
   * @param {boolean} [isAtTop]
   */
  steadily(change, isOpen = false, isAtTop = !scrollY) {
    if (isAtTop) change();
    else steadily(this.main, isOpen ? [] : this.#shown, change);
  }

  // -- what frames tell

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
    const read = document.activeElement?.closest('article');
    const fresh = queue.flatMap((it) => it[0].fresh);
    const isOpen = this.#isOpen;
    const waiting = isOpen ? [] : fresh;
    this.steadily(() => {
      for (const [{ changes }, nodes] of queue) {
        changes.forEach((it, i) => this.#change(it, nodes[i], timeline, waiting));
      }
      this.#arrive(fresh, timeline, isOpen);
      this.main.dataset.position = timeline.position;
      this.settle();
    }, isOpen && fresh.length > 0);
    // What had the focus is gone, and its entry is not.
    if (read?.isConnected && document.activeElement === document.body) this.arrivals?.focus(read);
  }

  get #isOpen() {
    return this.arrivals?.isOpen() ?? true;
  }

  /**
   * @param {Change} it @param {HTMLElement | null} node @param {Timeline} timeline
   * @param {string[]} waiting neither the focus nor the line goes to them
   */
  #change(it, node, timeline, waiting) {
    if (it.op === 'del') return this.#remove(it.id);
    if (!node) return;
    const copy = /** @type {HTMLElement} */ (node.cloneNode(true));
    this.decorate(node);
    if (it.op === 'blog') return morph(this.#one('header'), node);
    copy.removeAttribute('id');
    copy.dataset.entry = it.id;
    this.#mark(PINNED, it.id, it.pinned && copy);
    this.#mark(KEYS, it.id, it.key && node.querySelector('template')?.content.firstElementChild);
    node.hidden = waiting.includes(it.id);
    if (isLoaded(timeline, it.order)) place(this.feed, node, this.#isUp);
  }

  /** @param {string} id */
  #remove(id) {
    const gone = find(this.feed, id);
    if (gone) this.#takeAway(gone);
    for (const list of [PINNED, KEYS]) find(this.#one(list), id)?.remove();
    this.arrivals?.forget(id);
  }

  /** @param {Element} gone */
  #takeAway(gone) {
    this.arrivals?.handOn(gone);
    gone.remove();
  }

  /** @param {string} name @param {string} id @param {any} node what stands in the list; none: nothing */
  #mark(name, id, node) {
    const list = this.#one(name);
    if (!node) return void find(list, id)?.remove();
    this.decorate(node);
    place(list, node);
  }

  /** @param {string[]} ids @param {Timeline} timeline @param {boolean} isShown or they wait */
  #arrive(ids, { latest, below }, isShown) {
    for (const id of ids) {
      const put = latest.get(id);
      if (put?.op !== 'put') continue;
      const node = find(this.feed, id);
      if (node && isShown) node.classList.add('fresh');
      else if (node) this.arrivals?.hold(node);
      else if (below) this.arrivals?.note(id, put.order);
      this.arrivals?.count(id);
    }
  }

  get #isUp() {
    return this.main.dataset.first === 'oldest';
  }

  // -- what pages tell

  /**
   * Entries below its lowest stay, to be loaded anew.
   *
   * @param {HTMLElement} page another rendering's <main> @param {Timeline} timeline of it
   * @param {number} seen the offset that was held
   */
  replace(page, timeline, seen) {
    this.#queue = [];
    this.#seen = Math.min(this.#seen, seen);
    const isOpen = this.#isOpen;
    this.steadily(() => {
      for (const name of ['lowest', 'below']) delete this.main.dataset[name];
      Object.assign(this.main.dataset, page.dataset);
      for (const name of /** @type {const} */ (['lang', 'dir'])) this.main[name] = page[name];
      this.decorate(page);
      for (const part of ['header', '#updates-title', '#newest', '#older']) {
        morph(this.#one(part), this.#one(part, page));
      }
      this.#fill(PINNED, [...this.#one(PINNED, page).children]);
      this.#fill(KEYS, [...this.#one(KEYS, page).children]);
      const nodes = [...this.#one(FEED, page).children];
      this.#fill(FEED, nodes, timeline.lowest ?? 0);
      this.arrivals?.startOver(timeline.below ? seen + 1 : 0);
      this.#arriveUnseen(nodes, timeline, isOpen);
    }, isOpen);
  }

  /** @param {HTMLElement} page the next older one @param {Timeline} timeline with it */
  extend(page, timeline) {
    const isOpen = this.#isOpen;
    this.steadily(() => {
      this.decorate(page);
      const nodes = [...this.#one(FEED, page).children].filter((node) => {
        const latest = timeline.latest.get(node.id);
        return latest?.op === 'put' && latest.offset <= Number(node.getAttribute('data-offset'));
      });
      this.#fill(FEED, nodes, timeline.lowest ?? 0, Number(this.main.dataset.lowest));
      morph(this.#one('#older'), this.#one('#older', page));
      if (timeline.lowest) this.main.dataset.lowest = `${timeline.lowest}`;
      else delete this.main.dataset.lowest;
      this.#arriveUnseen(nodes, timeline, isOpen);
    }, false, !this.#isUp && !scrollY);
  }

  /**
   * Entries with orders outside of the bounds stay.
   *
   * @param {string} name @param {Element[]} nodes @param {number} [from] @param {number} [to]
   */
  #fill(name, nodes, from = 0, to = Infinity) {
    const list = this.#one(name);
    const ids = new Set(nodes.map(idOf));
    for (const old of [...list.children]) {
      const order = orderOf(old);
      if (order >= from && order < to && !ids.has(idOf(old))) this.#takeAway(old);
    }
    for (const node of nodes) place(list, node, name === FEED && this.#isUp);
  }

  /**
   * @param {Element[]} nodes of a page; those that are in the feed now were not there before
   * @param {Timeline} timeline @param {boolean} isShown
   */
  #arriveUnseen(nodes, timeline, isShown) {
    const fresh = nodes.filter((node) => node.isConnected && orderOf(node) > this.#seen);
    this.#arrive(fresh.map((node) => node.id), timeline, isShown);
    this.settle();
  }

  /** All that came was seen. */
  see() {
    this.#seen = Infinity;
    this.settle();
  }

  /**
   * All that can be had anew is there: what is older goes, and what pages bring later is not new.
   *
   * @param {Timeline} timeline
   */
  prune({ lowest }) {
    this.#seen = Infinity;
    this.steadily(() => {
      for (const node of [...this.feed.children]) {
        if (orderOf(node) < (lowest ?? 0)) this.#takeAway(node);
      }
      this.settle();
    });
  }

  /** Bring what depends on the lists up to date. */
  settle() {
    const { feed } = this;
    feed.toggleAttribute('data-empty', !feed.firstElementChild);
    const busy = `${!feed.querySelector('article:not([hidden])')}`; // without entries it is none
    if (feed.getAttribute('aria-busy') !== busy) feed.setAttribute('aria-busy', busy);
    this.settled();
    this.arrivals?.tell();
    this.tick();
  }

  // -- the status line

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
}
