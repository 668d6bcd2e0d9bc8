// Shows that there are new entries: on a button, in the page's title and in its icon. Announces new
// entries to screen readers.
// Rules: idempotent. An equal text is not written again: screen readers would announce it twice.

import { write } from './status.js';
import { announced, summary, updates } from './summary.js';

/** @import {Arrivals} from './types.js' */

/** The shortest time between two announcements to screen readers. */
const ANNOUNCE_MS = 10_000;
/**
 * An announcement is cleared after this time. Screen readers announce only a changed text: without
 * clearing, "1 new update" could not be announced a second time.
 */
const CLEAR_MS = 5_000;

/** @param {string} selector @returns {any} */
const pick = (selector) => document.querySelector(selector);

/** Writes the number of new entries on the page, and announces new entries. */
export class Badge {
  #announced_ms = -ANNOUNCE_MS;
  #line = pick('#status').children[2];
  #icon = pick('link[rel=icon]');
  #plainIcon = this.#icon.getAttribute('href');
  button = pick('#new');

  /**
   * @param {HTMLElement} main
   * @param {() => number} now milliseconds of a clock that is never set back
   */
  constructor(main, now) {
    this.main = main;
    this.now = now;
    // The part of the page's title after the blog's heading. On an entry's page the title ends with
    // the heading, so this part is empty.
    this.after = main.dataset.permalink ? '' : document.title.slice(this.#heading.length);
  }

  get #heading() {
    return this.main.querySelector('h1')?.textContent ?? '';
  }

  /** @param {Arrivals} arrivals @param {number} waiting number of hidden new entries in the feed */
  show(arrivals, waiting) {
    const { text, count } = summary(arrivals, waiting);
    this.button.hidden = !text;
    if (text) write(this.button, text);
    this.#showTitle(count);
    const href = text ? this.#plainIcon.replace('.svg', '-new.svg') : this.#plainIcon;
    if (this.#icon.getAttribute('href') !== href) this.#icon.setAttribute('href', href);
  }

  /**
   * Write the page's title: the count, on an entry's page also the entry's name, and the blog's
   * heading. When the entry was deleted, leave out its name and remove the page's description.
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

  /**
   * Announce new entries, at most every ten seconds. Return `arrivals` without the announced
   * entries.
   *
   * @param {Arrivals} arrivals @returns {Arrivals}
   */
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
