// The feed: the entries in their order, and which new ones wait until the reader asks for them.
// Rules: nothing else inserts, removes, hides or reveals an entry of the feed. A waiting entry is
// in the feed and hidden, so that edits and deletions reach it too.

import { find, orderOf, place } from './list.js';
import { idOf } from './morph.js';

const NEAR_PX = 8; // a finger rarely scrolls to the very top

/** @param {HTMLElement} entry */
const isShown = (entry) => !entry.hidden;

/** @param {Element} entry */
export function focusOn(entry) {
  const heading = /** @type {HTMLElement} */ (entry.querySelector('h3') ?? entry);
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

/** Draw the line between read and unread entries. @param {HTMLElement} first unread */
function drawLine(first) {
  first.dataset.unread = 'New since you left';
}

export class Feed {
  /** Whether an entry may be waiting. If not, `waiting` need not search 500 entries. */
  #mayWait = false;
  /** The highest order that the reader has seen; higher entries of a fetched page are new. */
  #seen = Infinity;
  /** @type {Set<any>} players that may be playing; finding them among 500 entries takes long */
  #players = new Set(document.querySelectorAll('video, audio'));

  /**
   * @param {HTMLElement} main @param {boolean} isForReaders on a reader's page new entries wait
   *   while the reader reads something else, and the focus survives changes; not at the desk
   */
  constructor(main, isForReaders) {
    this.main = main;
    this.isForReaders = isForReaders;
    this.list = /** @type {HTMLElement} */ (main.querySelector('[role=feed]'));
    document.addEventListener('play', ({ target }) => this.#players.add(target), true);
  }

  /** Whether the oldest entry is first. */
  get isUp() {
    return this.main.dataset.first === 'oldest';
  }

  /** @returns {HTMLElement[]} all entries in their order on the page, waiting ones included */
  get entries() {
    return /** @type {any[]} */ ([...this.list.children]);
  }

  /** @returns {HTMLElement[]} the entries that are not waiting */
  get shown() {
    return this.entries.filter(isShown);
  }

  /** @returns {HTMLElement[]} the waiting entries, the oldest first */
  get waiting() {
    if (!this.#mayWait) return [];
    const waiting = this.entries.filter((it) => it.hidden);
    return this.isUp ? waiting : waiting.reverse();
  }

  /** The lowest order in the feed. */
  get lowest() {
    return Math.min(...this.entries.map(orderOf));
  }

  get #isPlaying() {
    for (const it of this.#players) if (it.paused) this.#players.delete(it);
    return this.#players.size > 0;
  }

  /** Whether a new entry is shown at once, since the reader looks at its place. */
  get isOpen() {
    if (!this.isForReaders) return true;
    if (document.hidden || this.#isPlaying || this.waiting.length) return false;
    const { top, bottom } = this.list.getBoundingClientRect();
    return this.isUp ? bottom <= innerHeight + NEAR_PX : top >= -NEAR_PX;
  }

  /** Insert an entry at its place, or edit it there. @param {Element} node */
  put(node) {
    place(this.list, node, this.isUp);
  }

  /** Highlight a new entry. Return false when the feed does not have it. @param {string} id */
  highlight(id) {
    const entry = find(this.list, id);
    entry?.classList.add('fresh');
    return !!entry;
  }

  /** Let a new entry wait. Return false when the feed does not have it. @param {string} id */
  hold(id) {
    const entry = find(this.list, id);
    if (entry) entry.hidden = this.#mayWait = true;
    return !!entry;
  }

  /** Remove an entry, if it is there. @param {Element | string} entry or its id */
  remove(entry) {
    const gone = typeof entry === 'string' ? find(this.list, entry) : entry;
    if (gone && this.isForReaders) this.#moveMarks(gone);
    gone?.remove();
  }

  /**
   * Make the feed hold exactly these entries between two orders; other orders stay. Return the
   * ids of those that the reader has not seen yet.
   *
   * @param {Element[]} nodes @param {number} [from] @param {number} [to]
   */
  fill(nodes, from = 0, to = Infinity) {
    const ids = new Set(nodes.map(idOf));
    for (const old of this.entries) {
      const order = orderOf(old);
      if (order >= from && order < to && !ids.has(idOf(old))) this.remove(old);
    }
    for (const node of nodes) this.put(node);
    return nodes.filter((it) => it.isConnected && orderOf(it) > this.#seen).map((it) => it.id);
  }

  /** Treat entries that changed after an offset as unseen, until the reader reveals them. @param {number} offset */
  startOver(offset) {
    this.#seen = Math.min(this.#seen, offset);
  }

  /** Remove entries below an order. Entries of pages loaded later are not new. @param {number} lowest */
  prune(lowest) {
    this.#seen = Infinity;
    for (const entry of this.entries) if (orderOf(entry) < lowest) this.remove(entry);
  }

  /** Show the waiting entries. Return them, the oldest first. */
  reveal() {
    const { waiting } = this;
    for (const it of waiting) it.hidden = false;
    this.#mayWait = false;
    this.#seen = Infinity;
    return waiting;
  }

  /** Reverse the order. @param {boolean} isUp the oldest entry first */
  turn(isUp) {
    this.main.dataset.first = isUp ? 'oldest' : 'newest';
    this.list.append(...this.entries.reverse());
  }

  /** Draw the line above the first unread entry, and go there. @param {HTMLElement} first */
  goTo(first) {
    for (const it of this.entries) it.removeAttribute('data-unread');
    drawLine(first);
    focusOn(first);
    first.scrollIntoView({ behavior: 'instant' });
  }

  /**
   * Move the line above an entry to the next newer entry, and the focus to that or the next older
   * entry. A waiting entry gets neither.
   *
   * @param {Element} gone the entry to be removed
   */
  #moveMarks(gone) {
    const sides = /** @type {any[]} */ ([gone.nextElementSibling, gone.previousElementSibling]);
    const [newer, older] = (this.isUp ? sides : sides.reverse()).map((it) => (it?.hidden ? null : it));
    if (newer && gone.hasAttribute('data-unread')) drawLine(newer);
    const next = newer ?? older;
    if (next && gone.contains(document.activeElement)) focusOn(next);
  }

  /** Mark a feed without entries as empty, and a feed without a shown entry as busy. */
  update() {
    const { list } = this;
    list.toggleAttribute('data-empty', !list.firstElementChild);
    const busy = `${!list.querySelector('article:not([hidden])')}`;
    if (list.getAttribute('aria-busy') !== busy) list.setAttribute('aria-busy', busy);
  }
}
