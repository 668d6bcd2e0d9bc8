// Keeps an open page live. Rules: alone knows both the network's side (socket) and the page's.

import { parseHtml } from './morph.js';
import { HELLO_MS, Stream } from './socket.js';
import { Times } from './time.js';
import { apply, create, extend, header, isAcceptable, parse } from './timeline.js';
import { View, nodeOf, read } from './view.js';

/** @import {Frame, LiveParts, Reader, State, Urls} from './types.js' */

const REFRESH_MS = 30_000; // times are told in minutes
/** Older pages that are loaded to come to a place, at most. */
const PAGES_MAX = 50;
/** For one, since the blog goes on meanwhile. */
const TRIES_MAX = 4;

/** @implements {Reader} */
export class Live {
  /** @type {Promise<boolean> | null} */
  #loading = null;
  #refreshed_ms = 0;
  /** How often it has started over. */
  #turn = 0;

  /** @param {HTMLElement} main @param {LiveParts} [parts] */
  constructor(main, parts = {}) {
    const { arrivals, decorate = () => {}, startOver = () => {}, settled = () => {} } = parts;
    this.main = main;
    this.arrivals = arrivals;
    this.startOver = startOver;
    this.times = new Times(main.dataset, Date.now);
    this.view = new View(main, {
      decorate: (root) => {
        this.times.refresh(root);
        decorate(root);
      },
      settled: () => {
        this.times.separate(this.view.feed);
        settled();
      },
      arrivals,
    });
    this.timeline = create(read(main));
    this.stream = new Stream(this, urls(main.dataset), /** @type {any} */ (window));
  }

  #tick() {
    this.view.tick();
    this.arrivals?.tick();
    this.times.countDown(this.main);
    if (performance.now() - this.#refreshed_ms > REFRESH_MS) this.refresh();
  }

  /** Tell all times anew. */
  refresh() {
    this.#refreshed_ms = performance.now();
    this.view.steadily(() => this.times.refresh(this.main));
  }

  start() {
    const { main, stream, view } = this;
    view.decorate(main);
    view.settle();
    setInterval(() => this.#tick(), 1_000);
    const wake = () => {
      this.refresh();
      stream.wake();
    };
    addEventListener('pagehide', () => stream.sleep());
    addEventListener('pageshow', (event) => event.persisted && wake());
    addEventListener('online', () => stream.online());
    addEventListener('offline', () => stream.offline());
    addEventListener('visibilitychange', () => document.hidden || wake());
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
    const [position, held] = [page?.dataset.position ?? '', this.timeline.position];
    if (!page || !isAcceptable(position, reset, held)) return false;
    this.startOver(page, held);
    this.timeline = create(read(page));
    this.view.replace(page, this.timeline, parse(held).offset);
    this.#loading = null; // what is on its way does not follow any more
    // What was loaded below the page's own entries is loaded anew; the desk loads nothing there.
    // What cannot be had is removed: it may have been taken down.
    const turn = (this.#turn += 1);
    const loaded = this.arrivals ? this.reach(this.view.lowest) : Promise.resolve();
    loaded.then(() => turn === this.#turn && this.view.prune(this.timeline));
    return true;
  }

  /** @param {string | null} [server_now] */
  correctClock(server_now) {
    this.times.correct(server_now);
  }

  /** @param {State} state */
  show(state) {
    this.view.show(state);
  }

  // -- older pages

  /** Load older pages until an entry would be there. @param {number} order */
  async reach(order) {
    const isThere = () => (this.timeline.lowest ?? 0) <= order;
    for (let pages = 0; pages < PAGES_MAX && !isThere(); pages += 1) {
      if (!(await this.loadOlder())) return;
    }
  }

  /** Load the next older page below what is there; false when it cannot be had now. */
  loadOlder() {
    const loading = (this.#loading ??= this.#load().catch(() => false));
    loading.then(() => {
      if (this.#loading === loading) this.#loading = null;
    });
    return loading;
  }

  /** @returns {Promise<boolean>} */
  async #load(tries = TRIES_MAX) {
    const asked = this.timeline.position;
    const link = /** @type {HTMLAnchorElement} */ (this.main.querySelector('#older a'));
    const url = new URL(link.href);
    url.searchParams.set('at', asked);
    const answer = await fetch(url, { signal: AbortSignal.timeout(HELLO_MS) });
    const page = mainOf(await answer.text());
    if (!page) return false;
    const timeline = extend(this.timeline, read(page, '[role=feed] article'), asked);
    if (!timeline) return this.#isOther(page, asked) || tries < 1 ? false : this.#load(tries - 1);
    this.timeline = timeline;
    this.view.extend(page, timeline);
    return true;
  }

  /**
   * Whether a page is of another epoch than what is held, which is void then; but not one that was
   * asked for before a reset.
   *
   * @param {HTMLElement} page @param {string} asked the position then held
   */
  #isOther({ dataset: { position = '' } }, asked) {
    const [theirs, mine, then] = [position, this.timeline.position, asked].map((it) => parse(it).epoch);
    const isOther = theirs !== mine && mine === then;
    if (isOther) this.stream.startOver(position);
    return isOther;
  }
}

/** @param {string} html @returns {HTMLElement | null} */
const mainOf = (html) => parseHtml(html).querySelector('main[data-blog]');

/** @param {DOMStringMap} held @returns {Urls} */
function urls(held) {
  const blog = `${location.origin}/blogs/${held.blog}`;
  return {
    live: (since) => `${blog.replace('http', 'ws')}/live?since=${since}`,
    events: (since) => `${blog}/events?since=${since}`,
    changes: (since) => `${blog}/changes?since=${since}`,
    page(at, isGone) {
      // An entry's page that has all newer ones is the blog's page by now.
      const isWhole = isGone || (held.permalink && !held.below);
      const url = new URL(isWhole ? blog : location.href);
      url.searchParams.set('at', at);
      return url.href;
    },
  };
}
