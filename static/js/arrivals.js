// New entries, while something else is read: they wait in the feed, hidden, and are counted there,
// so that edits and deletions of them count too.

import { write } from './view.js';

const ANNOUNCE_MS = 10_000; // between two announcements
const HEARD_MS = 5_000; // then it is cleared, so that the same words are news again
const NEAR_PX = 8;

/** @param {number} count */
const updates = (count) => `${count} new update${count === 1 ? '' : 's'}`;

const isPlaying = () =>
  [...document.querySelectorAll('video, audio')].some((it) => !(/** @type {any} */ (it).paused));

export class Arrivals {
  /** @type {Map<string, number>} new entries, with their order, of which this page is too old */
  #elsewhere = new Map();
  #unheard = 0;
  #announced_ms = -ANNOUNCE_MS;

  /**
   * @param {HTMLElement} main
   * @param {(order: number) => void} leave goes to the page of an entry that is not on this one
   */
  constructor(main, leave) {
    this.main = main;
    this.leave = leave;
    const one = (/** @type {string} */ it) => /** @type {any} */ (document.querySelector(it));
    this.feed = /** @type {HTMLElement} */ (one('[role=feed]'));
    this.button = one('#new');
    this.said = one('#status').children[2];
    this.icon = one('link[rel=icon]');
    this.plain = { title: document.title, icon: this.icon.getAttribute('href'), heading: this.#heading };
    this.button.addEventListener('click', () => this.open());
  }

  get #heading() {
    return this.main.querySelector('h1')?.textContent ?? '';
  }

  get #isUp() {
    return this.main.dataset.first === 'oldest';
  }

  /** @returns {HTMLElement[]} the oldest first */
  waiting() {
    /** @type {HTMLElement[]} */
    const found = [...this.feed.querySelectorAll('article[hidden]')].map((it) => /** @type {any} */ (it));
    return this.#isUp ? found : found.reverse();
  }

  /** Whether a new entry would stand where the reader is. */
  isOpen() {
    if (document.hidden || isPlaying() || this.waiting().length) return false;
    const { top, bottom } = this.feed.getBoundingClientRect();
    return this.#isUp ? bottom <= innerHeight + NEAR_PX : top >= -NEAR_PX;
  }

  /** @param {string} id of a new entry that is not on this page @param {number} order */
  note(id, order) {
    this.#elsewhere.set(id, order);
  }

  /** @param {string} id of a deleted one */
  forget(id) {
    this.#elsewhere.delete(id);
  }

  /** @param {number} fresh how many have come, to be announced */
  count(fresh) {
    this.#unheard += fresh;
  }

  settle() {
    const count = this.waiting().length + this.#elsewhere.size;
    this.button.hidden = !count;
    if (count) write(this.button, updates(count));
    const { title, heading, icon } = this.plain;
    const text = title.replace(heading, () => this.#heading); // which is live
    document.title = count ? `(${count}) ${text}` : text;
    const href = count ? icon.replace('.svg', '-new.svg') : icon;
    if (this.icon.getAttribute('href') !== href) this.icon.setAttribute('href', href);
  }

  /** Announce what has come since the last time. */
  tick() {
    const age_ms = Date.now() - this.#announced_ms;
    if (age_ms > HEARD_MS) write(this.said, '');
    if (!this.#unheard || age_ms < ANNOUNCE_MS) return;
    this.say(updates(this.#unheard));
    this.#unheard = 0;
  }

  /** @param {string} text for who does not see the page */
  say(text) {
    write(this.said, text);
    this.#announced_ms = Date.now();
  }

  /** Show what waits, and go to the first of it. */
  open() {
    if (this.#elsewhere.size) return this.leave(Math.min(...this.#elsewhere.values()));
    const [first] = this.reveal();
    if (first) this.show(first);
  }

  /** @returns {HTMLElement[]} what waited */
  reveal() {
    const waiting = this.waiting();
    for (const it of waiting) it.hidden = false;
    this.settle();
    return waiting;
  }

  /** Draw the line to what was read before, and go there. @param {HTMLElement} first unread */
  show(first) {
    for (const it of this.feed.querySelectorAll('[data-unread]')) it.removeAttribute('data-unread');
    first.dataset.unread = 'New since you left';
    const heading = /** @type {HTMLElement} */ (first.querySelector('h3') ?? first);
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    first.scrollIntoView({ behavior: 'instant' });
  }
}
