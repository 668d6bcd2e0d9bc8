// Shows that new entries wait: on the button, in the title and in the icon. Announces new entries to
// screen readers.
// Rules: idempotent; setting an equal text would make screen readers announce the text again.

import { announced, summary, updates } from './arrivals.js';
import { write } from './status.js';

/** @import {Arrivals} from './types.js' */

const ANNOUNCE_MS = 10_000; // between two announcements
const CLEAR_MS = 5_000; // then the line is cleared: screen readers announce only a changed text

/** @param {string} selector @returns {any} */
const pick = (selector) => document.querySelector(selector);

export class Badge {
  #announced_ms = -ANNOUNCE_MS;
  #line = pick('#status').children[2];
  #icon = pick('link[rel=icon]');
  #plainIcon = this.#icon.getAttribute('href');
  button = pick('#new');

  /** @param {HTMLElement} main @param {() => number} now a clock that is never set back */
  constructor(main, now) {
    this.main = main;
    this.now = now;
    // A blog's title starts with its heading; the title of an entry's page ends with the heading.
    this.after = main.dataset.permalink ? '' : document.title.slice(this.#heading.length);
  }

  get #heading() {
    return this.main.querySelector('h1')?.textContent ?? '';
  }

  /** @param {Arrivals} arrivals @param {number} waiting entries that wait in the feed */
  show(arrivals, waiting) {
    const { text, count } = summary(arrivals, waiting);
    this.button.hidden = !text;
    if (text) write(this.button, text);
    this.#showTitle(count);
    const href = text ? this.#plainIcon.replace('.svg', '-new.svg') : this.#plainIcon;
    if (this.#icon.getAttribute('href') !== href) this.#icon.setAttribute('href', href);
  }

  /**
   * Show the count in the title, and on an entry's page the entry's current name. When the entry was
   * deleted, its name and its description disappear.
   *
   * @param {string} count
   */
  #showTitle(count) {
    const { permalink } = this.main.dataset;
    const entry = document.getElementById(permalink ?? '');
    if (permalink && !entry) pick('meta[name=description]')?.remove();
    const name = entry ? `${entry.getAttribute('aria-label')} · ` : '';
    const title = count + name + this.#heading + this.after;
    if (document.title !== title) document.title = title;
  }

  /** Announce new entries, at most every ten seconds. @param {Arrivals} arrivals @returns {Arrivals} */
  tick(arrivals) {
    const age_ms = this.now() - this.#announced_ms;
    if (age_ms > CLEAR_MS) write(this.#line, '');
    const { size } = arrivals.unannounced;
    if (!size || age_ms < ANNOUNCE_MS) return arrivals;
    this.announce(updates(size));
    return announced(arrivals);
  }

  /** @param {string} text for screen readers */
  announce(text) {
    write(this.#line, text);
    this.#announced_ms = this.now();
  }
}
