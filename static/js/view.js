// Shows changes and fetched pages: the header, the feed, and the two lists beside the feed (pinned
// entries and key events).
// Rules: rendering is idempotent. The text being read stays in place.

import { arrive, forget, miss, NO_ARRIVALS, startOver } from './arrivals.js';
import { focusOn } from './feed.js';
import { find, place } from './list.js';
import { idOf, isHostile, morph, parseHtml } from './morph.js';
import { steadily } from './steady.js';
import { isLoaded } from './timeline.js';

/** @import {Applied, Change, Page, Put, Timeline} from './types.js' */
/** @import {Feed} from './feed.js' */
/** @import {Times} from './time.js' */

const FEED = '[role=feed]';
const PINNED = '#pinned [data-list]';
const KEYS = '#key-events [data-list]';

/** @param {ParentNode} root @param {string} selector @returns {HTMLElement} */
const part = (root, selector) => /** @type {any} */ (root.querySelector(selector));

/** @param {HTMLElement} main @param {string} [nodes] @returns {Page} */
export function readPage(main, nodes = 'header, article') {
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

/**
 * Set an entry's offset, order and revision on its element. The markup of a page has these numbers;
 * the markup of a frame leaves them out.
 *
 * @param {HTMLElement} node @param {Put} it
 */
function complete(node, { offset, order, revision }) {
  Object.assign(node.dataset, { offset, order, revision });
  const item = node.querySelector('template')?.content.firstElementChild;
  item?.setAttribute('data-order', `${order}`);
}

/**
 * Return a change's element. Return null for a deletion, for markup that `isHostile`, and for
 * markup that is not one element: the blog's header, or the article with the change's id.
 *
 * @param {Change} it @returns {HTMLElement | null}
 */
export function nodeOf(it) {
  if (it.op === 'del') return null;
  const content = parseHtml(it.html ?? '');
  const node = /** @type {HTMLElement | null} */ (content.firstElementChild);
  const fits = it.op === 'blog' ? node?.matches('header[data-status]') : node?.id === it.id;
  if (!node || !fits || content.childElementCount > 1 || isHostile(content)) return null;
  if (it.op === 'put') complete(node, it);
  return node;
}

/** Return the copy of an entry for the list of pinned entries. @param {HTMLElement} node */
function copyOf(node) {
  const copy = /** @type {HTMLElement} */ (node.cloneNode(true));
  copy.removeAttribute('id');
  copy.dataset.entry = node.id;
  return copy;
}

/** Shows changes and fetched pages in the page's elements. */
export class View {
  arrivals = NO_ARRIVALS;
  /** @type {[Applied, (HTMLElement | null)[]][]} changes to show at the next repaint */
  #queue = [];

  /** Called after the content of the page has changed. */
  onupdate = () => {};

  /**
   * @param {HTMLElement} main @param {Feed} feed @param {Times} times
   * @param {(root: Element) => void} decorate adds markup that only scripts use, such as share
   *   links, to new content
   */
  constructor(main, feed, times, decorate) {
    this.main = main;
    this.feed = feed;
    this.times = times;
    this.decorate = (/** @type {Element} */ root) => {
      times.refresh(root);
      decorate(root);
    };
  }

  /**
   * Run `change` and keep the text that the reader is reading in place on the screen. At the very
   * top of the page, content may move.
   *
   * @param {() => void} change @param {boolean} [isOpen] whether new entries may push older
   *   entries down
   * @param {boolean} [isAtTop]
   */
  steadily(change, isOpen = false, isAtTop = !scrollY) {
    if (isAtTop) change();
    else steadily(this.main, isOpen ? [] : this.feed.shown, change);
  }

  // -- changes from frames

  /** @param {Applied} applied @param {(HTMLElement | null)[]} nodes the element of each change */
  apply(applied, nodes) {
    this.#queue.push([applied, nodes]);
    if (document.hidden) this.#flush(); // a hidden page is not repainted
    else if (this.#queue.length === 1) requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    const queue = this.#queue;
    const timeline = queue.at(-1)?.[0].timeline;
    this.#queue = [];
    if (!timeline) return;
    const read = document.activeElement?.closest('article');
    const fresh = queue.flatMap((it) => it[0].fresh);
    const { isOpen } = this.feed;
    const waiting = isOpen ? [] : fresh;
    this.steadily(() => {
      for (const [{ changes }, nodes] of queue) {
        changes.forEach((it, i) => this.#change(it, nodes[i], timeline, waiting));
      }
      this.main.dataset.position = timeline.position;
      this.#arrive(fresh, timeline, isOpen);
    }, isOpen && fresh.length > 0);
    if (!read?.isConnected || !this.feed.isForReaders) return;
    if (document.activeElement === document.body) focusOn(read); // the focused element was replaced
  }

  /**
   * @param {Change} it @param {HTMLElement | null} node @param {Timeline} timeline
   * @param {string[]} waiting ids of new entries that stay hidden for now
   */
  #change(it, node, timeline, waiting) {
    if (it.op === 'del') return this.#remove(it.id);
    if (!node) return;
    if (it.op === 'put') this.#mark(PINNED, it.id, it.pinned && copyOf(node));
    this.decorate(node);
    if (it.op === 'blog') return morph(part(this.main, 'header'), node);
    this.#mark(KEYS, it.id, it.key && node.querySelector('template')?.content.firstElementChild);
    node.hidden = waiting.includes(it.id);
    if (isLoaded(timeline, it.order)) this.feed.put(node);
  }

  /** @param {string} id */
  #remove(id) {
    this.feed.remove(id);
    for (const name of [PINNED, KEYS]) this.#mark(name, id);
    this.arrivals = forget(this.arrivals, id);
  }

  /**
   * Insert, update or remove an entry in the list of pinned entries or of key events.
   *
   * @param {string} name the list's selector @param {string} id
   * @param {Element | null | false} [node] without it, remove the entry
   */
  #mark(name, id, node) {
    const list = part(this.main, name);
    if (!node) return find(list, id)?.remove();
    this.decorate(node);
    place(list, node);
  }

  /**
   * Highlight or hide each new entry, and add the entry to the next announcement to screen readers.
   * Count the entry when this page lacks it.
   *
   * @param {string[]} ids of new entries @param {Timeline} timeline
   * @param {boolean} isOpen whether new entries are shown at once
   */
  #arrive(ids, { latest, below }, isOpen) {
    for (const id of ids) {
      const put = latest.get(id);
      if (put?.op !== 'put') continue;
      const isThere = isOpen ? this.feed.highlight(id) : this.feed.hold(id);
      const isMissing = !isThere && below;
      this.arrivals = isMissing ? miss(this.arrivals, id, put.order) : arrive(this.arrivals, id);
    }
    this.update();
  }

  // -- fetched pages

  /**
   * Show a newly fetched version of this page. Entries that are older than the fetched ones stay
   * until `prune`.
   *
   * @param {HTMLElement} page its <main> @param {Timeline} timeline @param {number} seen the offset
   *   that the page showed until now
   */
  replace(page, timeline, seen) {
    this.#queue = [];
    this.feed.startOver(seen);
    const { isOpen } = this.feed;
    this.steadily(() => {
      this.#adopt(page);
      for (const it of ['header', '#updates-title', '#newest', '#older', PINNED, KEYS]) {
        morph(part(this.main, it), part(page, it));
      }
      const unseen = this.feed.fill([...part(page, FEED).children], timeline.lowest ?? 0);
      this.arrivals = startOver(this.arrivals, timeline.below ? seen + 1 : 0);
      this.#arrive(unseen, timeline, isOpen);
    }, isOpen);
  }

  /**
   * Copy the attributes of a fetched <main>, then decorate its content.
   *
   * @param {HTMLElement} page
   */
  #adopt(page) {
    const { main } = this;
    for (const name of ['lowest', 'below']) delete main.dataset[name];
    Object.assign(main.dataset, page.dataset);
    for (const name of /** @type {const} */ (['lang', 'dir'])) main[name] = page[name];
    this.decorate(page);
  }

  /**
   * Add the entries of the next older page to the feed.
   *
   * @param {HTMLElement} page @param {Timeline} timeline that already has the page's entries
   */
  extend(page, timeline) {
    const { isOpen } = this.feed;
    this.steadily(() => {
      this.decorate(page);
      const nodes = [...part(page, FEED).children].filter((node) => {
        const latest = timeline.latest.get(node.id);
        return latest?.op === 'put' && latest.offset <= Number(node.getAttribute('data-offset'));
      });
      const to = Number(this.main.dataset.lowest);
      const unseen = this.feed.fill(nodes, timeline.lowest ?? 0, to);
      morph(part(this.main, '#older'), part(page, '#older'));
      if (timeline.lowest) this.main.dataset.lowest = `${timeline.lowest}`;
      else delete this.main.dataset.lowest;
      this.#arrive(unseen, timeline, isOpen);
    }, false, !this.feed.isUp && !scrollY);
  }

  /**
   * Remove entries that are older than all pages fetched since a reset: they may have been deleted.
   *
   * @param {Timeline} timeline
   */
  prune({ lowest }) {
    this.steadily(() => {
      this.feed.prune(lowest ?? 0);
      this.update();
    });
  }

  /** Show the waiting entries. Return them, the oldest first. */
  reveal() {
    const waiting = this.feed.reveal();
    this.update();
    return waiting;
  }

  /**
   * After a change of the lists, mark an empty feed, draw the lines between days, and show the
   * count of new entries.
   */
  update() {
    this.feed.update();
    this.times.separate(this.feed.list);
    this.onupdate();
  }
}
