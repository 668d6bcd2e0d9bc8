// Loads the page again after a deploy: the frames of a new release need its styles and scripts.
// Rules: no page is loaded again twice in PAUSE_MS, whatever the servers answer: two releases may
// stand behind one balancer.

import { recall, remember } from './memory.js';

/** @import {ReleaseWorld} from './types.js' */

/** The time between two attempts of one tab, loaded again or not. */
const PAUSE_MS = 300_000;
/** The readers of a page attempt at random times within SPREAD_MS. */
const SPREAD_MS = 10_000;
const STORAGE = 'sessionStorage';

/** Compares the page's version with the server's; ask `tick` every second. */
export class Release {
  /** The server's version; '' when it is the page's. */
  #wanted = '';
  #due_ms = 0;

  /**
   * @param {(string | undefined)[]} own the versions of this page's markup and scripts
   * @param {() => boolean} isQuiet whether loading the page again disturbs nobody now
   * @param {() => Promise<string | undefined>} fetched the version that the page has now
   * @param {ReleaseWorld} world
   */
  constructor(own, isQuiet, fetched, world) {
    this.own = own;
    this.isQuiet = isQuiet;
    this.fetched = fetched;
    this.world = world;
  }

  /** @param {string} [version] that a `hello` names */
  compare(version = '') {
    this.#wanted = this.own.every((it) => it === version) ? '' : version;
    this.#due_ms = this.world.Date.now() + this.world.Math.random() * SPREAD_MS;
  }

  async tick() {
    if (!this.#wanted || !this.isQuiet() || !this.#begins()) return;
    const found = await this.fetched();
    if (found === this.#wanted && this.isQuiet()) this.world.location.reload();
  }

  /** Return whether an attempt begins, and note it. None begins when the browser forbids storage. */
  #begins() {
    const now_ms = this.world.Date.now();
    const since_ms = Math.abs(now_ms - recall(STORAGE, 'release'));
    if (now_ms < this.#due_ms || since_ms < PAUSE_MS) return false;
    remember(STORAGE, 'release', now_ms);
    return recall(STORAGE, 'release') === now_ms;
  }
}
