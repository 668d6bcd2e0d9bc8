// Keeps an open page live. Rules: alone knows both the network's side (socket) and the page's.

import { parseHtml } from './morph.js';
import { HELLO_MS, Stream } from './socket.js';
import { Times } from './time.js';
import { apply, create, extend, header, isAcceptable } from './timeline.js';
import { View, nodeOf, read } from './view.js';

/** @import {Arrivals} from './arrivals.js' */
/** @import {Frame, LiveParts, Reader, State, Urls} from './types.js' */

const REFRESH_S = 30;
/** Older pages that are loaded to come to a place, at most. */
const PAGES_MAX = 25;

/** @implements {Reader} */
export class Live {
  /** @type {Promise<boolean> | null} */
  #loading = null;

  /** @param {HTMLElement} main @param {LiveParts} [parts] */
  constructor(main, { arrivals, decorate = () => {}, startOver = () => {} } = {}) {
    this.main = main;
    this.startOver = startOver;
    this.times = new Times(main.dataset, Date.now);
    this.view = new View(main, {
      decorate: (root) => {
        this.times.refresh(root);
        decorate(root);
      },
      settled: () => this.times.separate(this.view.feed),
      arrivals,
    });
    this.timeline = create(read(main));
    this.stream = new Stream(this, urls(main.dataset.blog), /** @type {any} */ (window));
    this.view.decorate(main);
    this.view.settle();
    this.#keepTime(arrivals);
  }

  /** @param {Arrivals} [arrivals] */
  #keepTime(arrivals) {
    let seconds = 0;
    setInterval(() => {
      this.view.tick();
      arrivals?.tick();
      seconds += 1;
      if (seconds % REFRESH_S && !this.main.querySelector('.countdown')) return;
      this.times.refresh(this.main);
    }, 1_000);
  }

  start() {
    const { stream } = this;
    addEventListener('pagehide', () => stream.sleep());
    addEventListener('pageshow', () => stream.wake());
    addEventListener('online', () => stream.online());
    addEventListener('offline', () => stream.offline());
    addEventListener('visibilitychange', () => document.hidden || stream.wake());
    stream.start();
  }

  // -- whom the stream serves

  position() {
    return this.timeline.position;
  }

  hasEnded() {
    return header(this.timeline)?.status === 'ended';
  }

  /** @param {Frame} frame @returns {import('./types.js').Outcome} */
  take(frame) {
    const applied = apply(this.timeline, frame);
    if (applied.outcome !== 'applied') return applied.outcome;
    const nodes = applied.changes.map(nodeOf);
    if (applied.changes.some((it, i) => it.op !== 'del' && !nodes[i])) return 'refused';
    this.timeline = applied.timeline;
    this.view.apply(applied, nodes);
    return 'applied';
  }

  /** @param {string} html @param {string} reset */
  replace(html, reset) {
    const page = mainOf(html);
    const position = page?.dataset.position ?? '';
    if (!page || !isAcceptable(position, reset, this.timeline.position)) return false;
    this.startOver(page, this.timeline.position);
    this.timeline = create(read(page));
    this.view.replace(page, this.timeline);
    this.#reload();
    return true;
  }

  /** @param {string | null} server_now */
  correctClock(server_now) {
    this.times.correct(server_now);
  }

  /** @param {State} state */
  show(state) {
    this.view.show(state);
  }

  // -- older pages

  /** What was loaded below the page's own entries is loaded anew after a reset. */
  async #reload() {
    await this.reach(this.view.lowest);
    this.view.prune(this.timeline);
  }

  /** Load older pages until an entry would be there. @param {number} order */
  async reach(order) {
    const isThere = () => (this.timeline.lowest ?? 0) <= order;
    for (let pages = 0; pages < PAGES_MAX && !isThere(); pages += 1) {
      if (!(await this.loadOlder())) return;
    }
  }

  /** Load the next older page below what is there; false when it cannot be had now. */
  loadOlder() {
    this.#loading ??= this.#load().catch(() => false).finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #load() {
    const link = /** @type {HTMLAnchorElement} */ (this.main.querySelector('#older a'));
    const url = new URL(link.href);
    url.searchParams.set('at', this.timeline.position);
    const answer = await fetch(url, { signal: AbortSignal.timeout(HELLO_MS) });
    const page = mainOf(await answer.text());
    const timeline = page && extend(this.timeline, read(page, '[role=feed] article'));
    if (!timeline) return false; // of another epoch: the stream will be reset
    this.timeline = timeline;
    this.view.extend(page, timeline);
    return true;
  }
}

/** @param {string} html @returns {HTMLElement | null} */
const mainOf = (html) => parseHtml(html).querySelector('main[data-blog]');

/** @param {string | undefined} slug @returns {Urls} */
function urls(slug) {
  const blog = `${location.origin}/blogs/${slug}`;
  return {
    live: (since) => `${blog.replace('http', 'ws')}/live?since=${since}`,
    events: (since) => `${blog}/events?since=${since}`,
    changes: (since) => `${blog}/changes?since=${since}`,
    page(at, isGone) {
      const url = new URL(isGone ? blog : location.href);
      url.searchParams.set('at', at);
      return url.href;
    },
  };
}
