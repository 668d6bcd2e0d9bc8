// Keeps an open page live: passes the frames and pages that the stream receives on to the view.
// Rules: no other module imports both the stream (socket.js) and the view (view.js).

import { answerOf } from './answer.js';
import { parseHtml } from './morph.js';
import { Stream } from './socket.js';
import { showStatus } from './status.js';
import { apply, create, extend, headerOf, isAcceptable, parse } from './timeline.js';
import { nodeOf, readPage } from './view.js';

/** @import {Frame, LiveWorld, Reader, State, Urls} from './types.js' */
/** @import {View} from './view.js' */

/** When no tick has run for this long, the machine has slept: ticks come once a second. */
const SLEPT_MS = 5_000;
const REFRESH_TICKS = 30; // relative times, as "5 minutes ago", change once a minute
/** One call of `reach` loads at most this number of older pages. */
const PAGES_MAX = 50;
/**
 * A request for an older page is repeated at most this number of times. The blog may change during
 * a request, which can make the answer outdated.
 */
const TRIES_MAX = 4;

/**
 * Applies the stream's frames and pages to the timeline, and shows the result in the view.
 *
 * @implements {Reader}
 */
export class Live {
  /** @type {Promise<boolean> | null} */
  #loading = null;
  #ticks = 0;
  #ticked_ms = Infinity;
  /**
   * The number of fetched pages that have replaced the timeline. When a later page replaces the
   * timeline, the `#reload` of the earlier page does not prune the feed.
   */
  #turn = 0;
  /** @type {State | null} */
  #state = null;

  /** Called after the content of the page has changed. */
  onupdate = () => {};
  /** Called every second. */
  ontick = () => {};
  /**
   * Called before a fetched page replaces the timeline.
   *
   * @param {HTMLElement} _page the fetched page @param {string} _held the position before that
   */
  onreplace = (_page, _held) => {};
  /**
   * Called with the version of markup, styles and scripts that a `hello` names.
   *
   * @param {string | undefined} _version
   */
  compare = (_version) => {};

  /** @param {HTMLElement} main @param {View} view @param {LiveWorld} world */
  constructor(main, view, world) {
    this.main = main;
    this.view = view;
    this.world = world;
    this.timeline = create(readPage(main));
    this.stream = new Stream(this, urls(main.dataset), world);
    view.onupdate = () => {
      this.onupdate();
      this.#showStatus(); // a new header may change the blog's status
    };
  }

  start() {
    const { main, stream, view } = this;
    view.decorate(main);
    view.update();
    this.world.setInterval(() => this.#tick(), 1_000);
    const wake = () => this.#wake(this.#frozen());
    addEventListener('pagehide', () => stream.sleep());
    addEventListener('pageshow', (event) => event.persisted && wake());
    addEventListener('online', () => stream.online());
    addEventListener('offline', () => stream.offline());
    addEventListener('visibilitychange', () => document.hidden || wake());
    stream.start();
  }

  /** @param {number} frozen_ms how long no timer has run */
  #wake(frozen_ms) {
    this.refresh();
    this.stream.wake(frozen_ms);
  }

  /** Return the time since the last tick. */
  #frozen() {
    const then = this.#ticked_ms;
    this.#ticked_ms = this.world.Date.now();
    return this.#ticked_ms - then;
  }

  #tick() {
    const frozen_ms = this.#frozen();
    if (frozen_ms > SLEPT_MS && !document.hidden) this.#wake(frozen_ms);
    this.#showStatus();
    this.ontick();
    this.view.times.countDown(this.main);
    if ((this.#ticks += 1) % REFRESH_TICKS === 0) this.refresh();
  }

  /** Write all relative times again. */
  refresh() {
    this.view.steadily(() => this.view.times.refresh(this.main));
  }

  // -- what the stream calls

  position() {
    return this.timeline.position;
  }

  hasEnded() {
    return headerOf(this.timeline)?.status === 'ended';
  }

  /** @param {Frame} frame @returns {import('./types.js').Outcome} */
  receive(frame) {
    const applied = apply(this.timeline, frame);
    if (applied.outcome !== 'applied') return applied.outcome;
    const nodes = applied.changes.map(nodeOf);
    if (applied.changes.some((it, i) => it.op !== 'del' && !nodes[i])) return 'rejected';
    this.timeline = applied.timeline;
    this.view.apply(applied, nodes);
    return 'applied';
  }

  /** @param {string} html of a page @param {string} reset the position in the `reset` frame */
  replace(html, reset) {
    const page = mainOf(html);
    const [position, held] = [page?.dataset.position ?? '', this.timeline.position];
    if (!page || !isAcceptable(position, reset, held)) return false;
    this.onreplace(page, held);
    this.timeline = create(readPage(page));
    this.view.replace(page, this.timeline, parse(held).offset);
    this.#loading = null; // an older page that is still loading no longer fits the new timeline
    this.#reload();
    return true;
  }

  /**
   * After a reset, fetch the older pages again that were loaded before. Then remove the entries
   * that no page contains now: an editor may have taken them down. The desk loads no older pages.
   */
  async #reload() {
    const turn = (this.#turn += 1);
    if (this.view.feed.isForReaders) await this.reach(this.view.feed.lowest);
    if (turn === this.#turn) this.view.prune(this.timeline);
  }

  /** @param {string | null} [server_now] */
  correctClock(server_now) {
    if (this.view.times.correct(server_now)) this.refresh();
  }

  /** @param {State} state */
  show(state) {
    this.#state = state;
    this.#showStatus();
  }

  #showStatus() {
    if (this.#state) showStatus(this.main, this.#state, this.world.Date.now());
  }

  // -- older pages

  /**
   * Load older pages until the feed reaches back to the entry first published at an offset.
   *
   * @param {number} order that offset
   */
  async reach(order) {
    const isThere = () => (this.timeline.lowest ?? 0) <= order;
    for (let pages = 0; pages < PAGES_MAX && !isThere(); pages += 1) {
      if (!(await this.loadOlder())) return;
    }
  }

  /** Load the next older page. Return false when no page was loaded. */
  loadOlder() {
    const loading = (this.#loading ??= this.#load().catch(() => false));
    loading.then(() => {
      if (this.#loading === loading) this.#loading = null;
    });
    return loading;
  }

  /** @param {string} url of a page @param {string} position that the page must have reached */
  async #fetch(url, position) {
    return mainOf((await answerOf(this.world, urlAt(url, position))).text);
  }

  /** Return the version that this page has on the server now; undefined without an answer. */
  async fetchVersion() {
    return (await this.#fetch(location.href, this.timeline.position))?.dataset.version;
  }

  /** @returns {Promise<boolean>} */
  async #load(tries = TRIES_MAX) {
    const asked = this.timeline.position;
    const link = /** @type {HTMLAnchorElement} */ (this.main.querySelector('#older a'));
    const page = await this.#fetch(link.href, asked);
    if (!page) return false;
    const timeline = extend(this.timeline, readPage(page, '[role=feed] article'), asked);
    if (!timeline) return this.#isOther(page, asked) || tries < 1 ? false : this.#load(tries - 1);
    this.timeline = timeline;
    this.view.extend(page, timeline);
    return true;
  }

  /**
   * Start over when an older page has another epoch than the timeline, which is then outdated.
   * Return whether the stream starts over. A page that was requested before a reset is ignored.
   *
   * @param {HTMLElement} page @param {string} asked the position when the page was requested
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

/** @param {string} page @param {string} position */
function urlAt(page, position) {
  const url = new URL(page);
  url.searchParams.set('at', position);
  return url.href;
}

/** @param {DOMStringMap} data of <main> @returns {Urls} */
function urls(data) {
  const blog = `${location.origin}/blogs/${data.blog}`;
  return {
    live: (since) => `${blog.replace('http', 'ws')}/live?since=${since}`,
    events: (since) => `${blog}/events?since=${since}`,
    changes: (since) => `${blog}/changes?since=${since}`,
    page(at, isGone) {
      // An entry's page without `below` shows the newest entries. Fetch the blog's page then: the
      // server renders an entry's page with only a few of the entries newer than that entry.
      const isWhole = isGone || (data.permalink && !data.below);
      return urlAt(isWhole ? blog : location.href, at);
    },
  };
}
