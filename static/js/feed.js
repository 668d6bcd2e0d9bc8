// The feed: the entries in order. New entries may wait, hidden, until the reader asks for them.
// Rules: no other module inserts, removes, hides or reveals an entry of the feed, with one
// exception: desk/page.js updates the feed while no stream works. A waiting entry is already in the
// feed, so that edits and deletions apply to the entry.

import { find, orderOf, place } from './list.js';
import { idOf } from './morph.js';

// Within this distance of the feed's newest end, the reader counts as being at the end. A finger
// rarely scrolls exactly there.
const NEAR_PX = 8;

/** @param {HTMLElement} entry */
const isShown = (entry) => !entry.hidden;

/** @param {Element} entry */
export function focusOn(entry) {
  const heading = /** @type {HTMLElement} */ (entry.querySelector('h3') ?? entry);
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

/** Draw the line between read and unread entries. @param {HTMLElement} first unread entry */
function drawLine(first) {
  first.dataset.unread = 'New since you left';
}

/** Inserts, hides, reveals and removes the entries of the feed. */
export class Feed {
  /** False while no entry can be hidden: then `waiting` is empty without searching the feed. */
  #mayWait = false;
  /**
   * After a reset: the highest `order` (offset of first publication) that the reader has seen.
   * Entries of a fetched page with a higher order are new. Infinity: no entry counts as new.
   */
  #seen = Infinity;
  /**
   * @type {Set<any>} video and audio players that may be playing. A search of hundreds of entries
   *   for these players would be slow.
   */
  #players = new Set(document.querySelectorAll('video, audio'));

  /**
   * @param {HTMLElement} main @param {boolean} isForReaders true on a reader's page: new entries
   *   wait while the reader reads other entries, and the focus moves to another element when a
   *   change removes the focused one; false at the desk
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

  /** The `order` (offset of first publication) of the oldest entry in the feed. */
  get lowest() {
    return Math.min(...this.entries.map(orderOf));
  }

  /** Whether a video or audio plays. */
  get isPlaying() {
    for (const it of this.#players) if (it.paused) this.#players.delete(it);
    return this.#players.size > 0;
  }

  /**
   * Whether new entries are shown at once. At the desk: always. For a reader: when the page is
   * visible, the feed's newest end is in sight, no video or audio plays and no entry waits.
   */
  get isOpen() {
    if (!this.isForReaders) return true;
    if (document.hidden || this.isPlaying || this.waiting.length) return false;
    const { top, bottom } = this.list.getBoundingClientRect();
    return this.isUp ? bottom <= innerHeight + NEAR_PX : top >= -NEAR_PX;
  }

  /** Insert an entry at its place, or update the entry with the same id. @param {Element} node */
  put(node) {
    place(this.list, node, this.isUp);
  }

  /** Highlight a new entry. Return false when the feed lacks the entry. @param {string} id */
  highlight(id) {
    const entry = find(this.list, id);
    entry?.classList.add('fresh');
    return !!entry;
  }

  /**
   * Hide a new entry until the reader asks for new entries. Return false when the feed lacks the
   * entry.
   *
   * @param {string} id
   */
  hold(id) {
    const entry = find(this.list, id);
    if (entry) entry.hidden = this.#mayWait = true;
    return !!entry;
  }

  /** Remove an entry, if the feed has the entry. @param {Element | string} entry or its id */
  remove(entry) {
    const gone = typeof entry === 'string' ? find(this.list, entry) : entry;
    if (gone && this.isForReaders) this.#moveMarks(gone);
    gone?.remove();
  }

  /**
   * Replace the entries that were first published from the offset `from` until before the offset
   * `to`; other entries stay. Return the ids of the `nodes` that the reader has not seen yet.
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

  /**
   * Start a reset. Until the next `reveal` or `prune`, an entry of a fetched page counts as unseen
   * when it was first published after an offset.
   *
   * @param {number} offset the offset that the page showed before the reset
   */
  startOver(offset) {
    this.#seen = Math.min(this.#seen, offset);
  }

  /**
   * End a reset: remove the entries that were first published before an offset, because no fetched
   * page has them. From now on, the entries of a fetched page do not count as new.
   *
   * @param {number} lowest that offset
   */
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

  /** Reverse the feed. @param {boolean} isUp true: the oldest entry first */
  turn(isUp) {
    this.main.dataset.first = isUp ? 'oldest' : 'newest';
    this.list.append(...this.entries.reverse());
  }

  /**
   * Draw the line between read and unread entries, then focus the first unread entry and scroll to
   * it.
   *
   * @param {HTMLElement} first unread entry
   */
  goTo(first) {
    for (const it of this.entries) it.removeAttribute('data-unread');
    drawLine(first);
    focusOn(first);
    first.scrollIntoView({ behavior: 'instant' });
  }

  /**
   * Before an entry is removed, move its unread line and its focus to a neighbour. The line moves
   * to the next newer entry; the focus moves there too, or else to the next older entry. A waiting
   * entry gets neither.
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

  /**
   * Mark a feed without entries as empty, and a feed without a visible entry as busy: ARIA permits
   * a feed without articles only while the feed is busy.
   */
  update() {
    const { list } = this;
    list.toggleAttribute('data-empty', !list.firstElementChild);
    const busy = `${!list.querySelector('article:not([hidden])')}`;
    if (list.getAttribute('aria-busy') !== busy) list.setAttribute('aria-busy', busy);
  }
}
