// New entries, while something else is read: they wait in the feed, hidden, and are counted there,
// so that edits and deletions of them count too.

import { write } from './view.js';

const ANNOUNCE_MS = 10_000; // between two announcements
const HEARD_MS = 5_000; // then it is cleared, so that the same words are news again
const NEAR_PX = 8; // a finger does not come to the very top

/** @param {number} count */
const updates = (count) => `${count} new update${count === 1 ? '' : 's'}`;

/** @param {Element} entry @returns {any} */
const headingOf = (entry) => entry.querySelector('h3') ?? entry;

/** @param {any} entry @returns {HTMLElement | null} */
const inView = (entry) => (entry?.hidden ? null : entry);

export class Arrivals {
  /** @type {Map<string, number>} new entries, with their order, of which this page is too old */
  #elsewhere = new Map();
  /** From this order on there may be more elsewhere than are known; 0: they are all known. */
  #vague = 0;
  #mayWait = false;
  /** @type {Set<string>} new entries that are to be announced */
  #unheard = new Set();
  #announced_ms = -ANNOUNCE_MS; // on a clock that nobody sets
  /** @type {Set<any>} what may play; to look for it among 500 entries takes longer than all else */
  #players = new Set(document.querySelectorAll('video, audio'));

  /**
   * @param {HTMLElement} main
   * @param {{leave: (order: number) => void, revealed: () => void}} told to go to the page of an
   *   entry that is not on this one; and that nothing waits any more
   */
  constructor(main, told) {
    const one = (/** @type {string} */ it) => /** @type {any} */ (document.querySelector(it));
    this.main = main;
    this.told = told;
    this.feed = /** @type {HTMLElement} */ (one('[role=feed]'));
    this.button = one('#new');
    this.said = one('#status').children[2];
    this.icon = one('link[rel=icon]');
    this.plainIcon = this.icon.getAttribute('href');
    // The title of a blog's page begins with its heading, that of an entry's page ends with it.
    this.after = main.dataset.permalink ? '' : document.title.slice(this.#heading.length);
    this.button.addEventListener('click', () => this.open());
    document.addEventListener('play', ({ target }) => this.#players.add(target), true);
  }

  get #heading() {
    return this.main.querySelector('h1')?.textContent ?? '';
  }

  get #isUp() {
    return this.main.dataset.first === 'oldest';
  }

  /** @returns {HTMLElement[]} the oldest first */
  #waiting() {
    if (!this.#mayWait) return []; // most often, and 500 need not be asked
    const found = /** @type {any[]} */ ([...this.feed.children]).filter((it) => it.hidden);
    return this.#isUp ? found : found.reverse();
  }

  #isPlaying() {
    for (const it of this.#players) if (it.paused) this.#players.delete(it);
    return this.#players.size > 0;
  }

  /** Whether a new entry would stand where the reader is. */
  isOpen() {
    if (document.hidden || this.#isPlaying() || this.#waiting().length) return false;
    const { top, bottom } = this.feed.getBoundingClientRect();
    return this.#isUp ? bottom <= innerHeight + NEAR_PX : top >= -NEAR_PX;
  }

  /** Let a new entry wait. @param {HTMLElement} entry */
  hold(entry) {
    entry.hidden = this.#mayWait = true;
  }

  /** @param {string} id of a new entry that is not on this page @param {number} order */
  note(id, order) {
    this.#elsewhere.set(id, order);
  }

  /** @param {string} id of a deleted one */
  forget(id) {
    this.#elsewhere.delete(id);
    this.#unheard.delete(id);
  }

  /** What was noted is void. @param {number} from on a page that is too old: from which order on */
  startOver(from) {
    this.#vague = from && Math.min(from, this.#vague || from, ...this.#elsewhere.values());
    this.#elsewhere.clear();
  }

  /** @param {string} id of one that has come, to be announced */
  count(id) {
    this.#unheard.add(id);
  }

  /** Tell how many wait, on the button, in the title and by the icon. */
  tell() {
    const count = this.#waiting().length + this.#elsewhere.size;
    const isNews = count > 0 || this.#vague > 0;
    this.button.hidden = !isNews;
    if (isNews) write(this.button, this.#vague ? 'New updates' : updates(count));
    this.#tellTitle(this.#vague ? '' : count);
    const href = isNews ? this.plainIcon.replace('.svg', '-new.svg') : this.plainIcon;
    if (this.icon.getAttribute('href') !== href) this.icon.setAttribute('href', href);
  }

  /** What is gone, or called otherwise, is so there too. @param {number | ''} count */
  #tellTitle(count) {
    const { permalink } = this.main.dataset;
    const entry = document.getElementById(permalink ?? '');
    if (permalink && !entry) document.querySelector('meta[name=description]')?.remove();
    const name = entry ? `${entry.getAttribute('aria-label')} · ` : '';
    const title = (count ? `(${count}) ` : '') + name + this.#heading + this.after;
    if (document.title !== title) document.title = title; // else it is set anew
  }

  /** Announce what has come since the last time. */
  tick() {
    const age_ms = performance.now() - this.#announced_ms;
    if (age_ms > HEARD_MS) write(this.said, '');
    if (!this.#unheard.size || age_ms < ANNOUNCE_MS) return;
    this.say(updates(this.#unheard.size));
    this.#unheard.clear();
  }

  /** @param {string} text for who does not see the page */
  say(text) {
    write(this.said, text);
    this.#announced_ms = performance.now();
  }

  /** Show what waits, and go to the first of it. */
  open() {
    const elsewhere = [...this.#elsewhere.values()];
    const from = this.#vague || Math.min(...elsewhere);
    if (from < Infinity) return this.told.leave(from);
    const [first] = this.reveal();
    if (first) this.goTo(first);
  }

  /** @returns {HTMLElement[]} what waited */
  reveal() {
    const waiting = this.#waiting();
    for (const it of waiting) it.hidden = false;
    this.#mayWait = false;
    this.told.revealed();
    return waiting;
  }

  /** Draw the line to what was read before, and go there. @param {HTMLElement} first unread */
  goTo(first) {
    for (const it of this.feed.children) it.removeAttribute('data-unread');
    this.#draw(first);
    this.focus(first);
    first.scrollIntoView({ behavior: 'instant' });
  }

  /** @param {HTMLElement} first unread */
  #draw(first) {
    first.dataset.unread = 'New since you left';
  }

  /** @param {Element} entry */
  focus(entry) {
    const heading = headingOf(entry);
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }

  /**
   * To the next newer entry: the line, and the focus, which else goes to an older one. What waits
   * gets neither.
   *
   * @param {Element} gone an entry to be removed
   */
  handOn(gone) {
    const sides = [gone.nextElementSibling, gone.previousElementSibling];
    const [newer, older] = (this.#isUp ? sides : sides.reverse()).map(inView);
    if (newer && gone.hasAttribute('data-unread')) this.#draw(newer);
    const next = newer ?? older;
    if (next && gone.contains(document.activeElement)) this.focus(next);
  }
}
