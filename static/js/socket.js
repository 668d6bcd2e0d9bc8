// A stream that reconnects by itself: WebSocket, else Server-Sent Events, else polling. The
// stream passes frames to a `Reader`, which applies their changes. The frames of a connection that
// is being replaced are applied too: each change applies once, by its offset.
// Rules: no DOM; sockets, timers, clock and randomness come from `world`.

import { answerOf } from './answer.js';
import { Connection, CUT, TRY_MS } from './connection.js';
import { Frames } from './frames.js';
import { POLLING, Transports, TRIES_PROVEN, WEBSOCKET } from './transports.js';

/** @import {Hello, Reader, State, Urls, Verdict, Wait, Window, World} from './types.js' */

const STABLE_MS = 5_000;
/** @type {Record<string, Window>} */
const WAIT_MS = {
  soon: [0, 1_000],
  retry: [0, 10_000], // random, because one failure can cut many readers at once
  later: [30_000, 60_000],
  poll: [8_000, 12_000],
  ended: [540_000, 660_000],
};

// Close codes, as in docs/streams.md.
const ENDED = 4510;
const DRAFT = 4504;
// The server does not know this page's origin. The other transports of the page send no origin.
const FOREIGN = 4500;
const LATER = [1002, 1003, 1007, 1008, 1009, 4006];

/** Keeps a reader connected: opens, closes and replaces connections, polls, and fetches pages. */
export class Stream {
  #transports = new Transports();
  /**
   * Why the stream stays closed; '' when the stream is open or reconnects.
   *
   * @type {'' | 'asleep' | 'gone' | 'ended' | 'paused'}
   */
  #rests = '';
  /**
   * The number of the present attempt to connect or fetch. Answers to earlier attempts are dropped.
   */
  #turn = 0;
  /** @type {Window | null | undefined} the wait that the last `bye` asks for; null: no reconnect */
  #bye;
  /** @type {any} */
  #timer;
  /** @type {(() => void) | null} ends the present wait early; null when no wait may end early */
  #hurry = null;
  /** Whether the server asked for the present wait, so that no event ends the wait early. */
  #isBound = false;
  #retry_at = 0;

  /** @param {Reader} reader @param {Urls} urls @param {World} world */
  constructor(reader, urls, world) {
    this.reader = reader;
    this.urls = urls;
    this.world = world;
    this.frames = new Frames(reader, world.console);
    this.connection = new Connection(world);
    this.connection.onmessage = (text, isOld) => {
      const verdict = this.frames.read(text);
      if (!isOld) this.#obey(verdict);
    };
    this.connection.onlost = (code) => this.#lost(code);
  }

  start() {
    this.#rests = this.reader.hasEnded() ? 'ended' : '';
    this.#connect();
  }

  /**
   * Reconnect when the reader looks at the page again, unless the stream works or is closed on
   * purpose.
   *
   * @param {number} [frozen_ms] how long no timer has run, as on a sleeping machine
   */
  wake(frozen_ms = 0) {
    const isDoubtful = this.connection.look(frozen_ms);
    if (this.#rests === 'asleep') return this.start();
    if (this.#rests === 'ended') return this.#connect();
    if (this.#rests) return;
    if (this.#hurry) return this.#hurry();
    if (isDoubtful) this.#connect();
  }

  /**
   * Reconnect when the browser is online again, first by WebSocket: the network may have changed.
   */
  online() {
    this.#transports.restart();
    if (this.#isBound && !this.#rests) this.#show('lost', this.#retry_at);
    this.wake();
  }

  offline() {
    if (this.#rests) return;
    if (this.#isBound) this.#show('offline');
    else this.#lost(CUT);
  }

  /**
   * Pause or resume the stream. To resume, the stream reconnects and gets the missed changes.
   * Return false when the stream is closed for good.
   *
   * @param {boolean} isPaused
   */
  pause(isPaused) {
    if (this.#rests === 'gone') return false;
    if (isPaused) this.#rest('paused');
    else this.start();
    return true;
  }

  /**
   * Fetch the page again, because a page of older entries, just loaded, has another epoch than the
   * reader's timeline.
   *
   * @param {string} position of that page
   */
  startOver(position) {
    if (['', 'ended'].includes(this.#rests)) this.#reset({ position, after_ms: [0, 0] });
  }

  /** Close the connection and clear the timer when the browser leaves or freezes the page. */
  sleep() {
    if (!['gone', 'paused'].includes(this.#rests)) this.#rests = 'asleep';
    this.#stop();
  }

  /** @param {boolean} [isReplaced] true: the replaced connection stays open */
  #stop(isReplaced) {
    if (!isReplaced) this.connection.drop();
    this.#turn += 1;
    this.connection.close();
    this.world.clearTimeout(this.#timer);
    this.#hurry = null;
    this.#isBound = false;
    this.#bye = undefined;
  }

  #connect() {
    this.#stop(true);
    const { current, isProbing } = this.#transports;
    const hasEnded = this.#rests === 'ended';
    if (hasEnded) this.#show('ended');
    if (hasEnded || current === POLLING) return void this.#poll();
    if (this.connection.isHurried && !isProbing) this.#show('lost', 0);
    const since = this.reader.position();
    const url = current === WEBSOCKET ? this.urls.live(since) : this.urls.events(since);
    try {
      this.connection.open(current, url);
    } catch {
      this.#lost(CUT); // a policy of the browser forbids this transport
    }
  }

  /** @param {Verdict} verdict */
  #obey(verdict) {
    if (verdict.t === 'hello') this.#hello(verdict);
    if (verdict.t === 'cut') this.#lost(CUT);
    if (verdict.t === 'reset') this.#reset(verdict);
    if (verdict.t !== 'bye') return;
    this.#bye = verdict.after_ms;
    // On a WebSocket, the server closes the connection after a bye, and #lost gets the close code.
    if (this.#transports.current !== WEBSOCKET) this.#lost(0);
  }

  /** @param {Hello} hello */
  #hello({ heartbeat_s, now, version }) {
    this.connection.start(heartbeat_s);
    this.#transports.worked();
    this.reader.correctClock(now);
    this.reader.compare(version);
    this.#show('live');
  }

  /**
   * React to the end of a connection: connect again, wait, or close the stream.
   *
   * @param {number} code the close code; 0 for an EventSource, which has none
   */
  #lost(code) {
    const [bye, { age_ms, isHurried, silent_ms }] = [this.#bye, this.connection];
    const hasEnded = code === ENDED || (!code && !bye && this.reader.hasEnded());
    const isCut = !bye && [0, CUT].includes(code);
    this.#stop(isCut);
    if (hasEnded || this.#rests) return this.#rest('ended');
    const isRefused = code === FOREIGN;
    if (code === DRAFT || (bye === null && !isRefused)) return this.#rest('gone');
    const isUnheard = age_ms === null && (isCut || isRefused);
    if (isUnheard && this.#transports.failed(isHurried, isRefused)) return this.#connect();
    const pause_ms = silent_ms < TRY_MS ? TRY_MS : 0;
    if (isCut && isHurried) return this.#wait([pause_ms, pause_ms], { isLost: false });
    const asked = bye ?? (LATER.includes(code) && WAIT_MS.later);
    if (asked) return this.#wait(asked, { isBinding: true });
    if (this.#transports.isProbing) return this.#connect();
    this.#wait((age_ms ?? 0) >= STABLE_MS ? WAIT_MS.soon : WAIT_MS.retry);
  }

  /**
   * Wait for a random time between two bounds, then connect or call `then`.
   *
   * @param {Window} window the two bounds @param {Wait} [how]
   */
  #wait([from_ms, to_ms], { isBinding, isLost = true, then = () => this.#connect() } = {}) {
    const wait_ms = from_ms + this.world.Math.random() * (to_ms - from_ms);
    this.#timer = this.world.setTimeout(then, wait_ms);
    this.#hurry = isBinding ? null : then;
    this.#isBound = !!isBinding;
    this.#retry_at = this.world.Date.now() + wait_ms;
    if (!isLost || this.#rests) return;
    this.#show(this.world.navigator.onLine ? 'lost' : 'offline', this.#retry_at);
  }

  /**
   * Close the stream: for good when the blog is gone, until `start` when the reader has paused.
   * Poll an ended blog every ten minutes, because editors may correct or reopen the blog.
   *
   * @param {'gone' | 'ended' | 'paused'} why
   */
  #rest(why) {
    this.#stop();
    this.#rests = why;
    this.#show(why === 'gone' ? 'lost' : why);
    if (why === 'ended') this.#wait(WAIT_MS.ended);
  }

  async #poll() {
    const turn = this.#turn;
    const url = this.urls.changes(this.reader.position());
    const limit_ms = this.#rests ? undefined : this.connection.limit();
    this.#hurry = () => this.#connect();
    const { status, text, date } = await answerOf(this.world, url, limit_ms);
    this.reader.correctClock(date);
    if (turn !== this.#turn) return;
    // The blog may be a draft, or may be created soon: only a stream's close code shows which.
    if (status === 404) return this.#wait(WAIT_MS.later, { isBinding: true });
    if (status !== 200) return this.#lost(CUT);
    const verdict = this.frames.read(text, ['changes', 'reset']);
    if (verdict.t === 'ok') this.#polled();
    else this.#obey(verdict);
  }

  #polled() {
    if (this.reader.hasEnded()) return this.#rest('ended');
    if (this.#rests) return this.start();
    this.#show('live');
    this.#wait(WAIT_MS.poll, { isLost: false });
    this.#transports.polled();
  }

  /** @param {{position: string, after_ms: Window}} frame */
  #reset({ position, after_ms }) {
    this.#stop();
    this.#wait(after_ms, { isBinding: true, then: () => this.#refetch(position) });
  }

  /**
   * Fetch the page until the server's page has reached a position. After six tries connect again: a
   * store that was restored meanwhile may never reach that position.
   *
   * @param {string} position @param {boolean} isGone true: this page is gone, fetch the blog's page
   */
  async #refetch(position, isGone = false, tries = TRIES_PROVEN) {
    this.#stop();
    const turn = this.#turn;
    const url = this.urls.page(position, isGone);
    this.#hurry = () => this.#refetch(position, isGone, tries);
    const { status, text, date } = await answerOf(this.world, url);
    this.reader.correctClock(date);
    if (turn !== this.#turn) return;
    if (status === 404 && isGone) return this.#wait(WAIT_MS.later, { isBinding: true });
    if (status === 404 || status === 410) return void this.#refetch(position, true);
    if (status === 200 && this.reader.replace(text, position)) return this.start();
    const again = () => (tries > 1 ? this.#refetch(position, isGone, tries - 1) : this.start());
    this.#wait(WAIT_MS.retry, { then: again });
  }

  /** @param {State['name']} name @param {number | null} retry_at */
  #show(name, retry_at = null) {
    this.reader.show({ name, retry_at });
  }
}
