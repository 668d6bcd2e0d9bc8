// One WebSocket or EventSource, with a watchdog that reports a silent connection as lost. A
// connection that may be dead is replaced: the old one stays open until the new one says `hello`.
// Rules: no DOM. A closed connection calls no callback.

import { WEBSOCKET } from './transports.js';

/** @import {World} from './types.js' */

/**
 * The longest wait for `hello`, the first frame. Some proxies buffer a stream, so no frame comes.
 */
const HELLO_MS = 10_000;
/** The close code of a connection that ended without a close frame (RFC 6455, section 7.4.1). */
export const CUT = 1006;
/**
 * For LOOKED_MS after the reader has looked at the page again, the wait for `hello` is TRY_MS, at
 * most HURRIED_MAX times. A phone's network often returns a moment after its page.
 */
const LOOKED_MS = 10_000;
export const TRY_MS = 1_500;
const HURRIED_MAX = 6;

/** Opens one connection at a time; calls `onmessage` for each frame, `onlost` after a failure. */
export class Connection {
  /** @type {WebSocket | EventSource | null} */
  #socket = null;
  /** @type {WebSocket | EventSource | null} the replaced connection, open until the next `hello` */
  #old = null;
  /** @type {any} */
  #watchdog;
  #silence_ms = 0;
  #seen_ms = 0;
  #live_ms = 0;
  #looked_ms = 0;
  /** The number of hurried tries that are left. */
  #tries = 0;

  /** @param {string} _ the text of a frame @param {boolean} _isOld from the replaced connection */
  onmessage = (_, _isOld) => {};
  /** @param {number} _ the close code; 0 for an EventSource, which has none */
  onlost = (_) => {};

  /** @param {World} world */
  constructor(world) {
    this.world = world;
  }

  /**
   * Close the earlier connection and open another. Throws when a policy of the browser forbids the
   * new connection.
   *
   * @param {number} transport WEBSOCKET or EVENTS @param {string} url
   */
  open(transport, url) {
    this.close();
    this.#watch(this.limit());
    const { WebSocket, EventSource } = this.world;
    const socket =
      transport === WEBSOCKET ? new WebSocket(url, ['liveblog.v1']) : new EventSource(url);
    this.#socket = socket;
    const isCurrent = () => socket === this.#socket;
    socket.onmessage = ({ data }) => {
      if (isCurrent()) this.#receive(data);
      else if (socket === this.#old) this.onmessage(data, true);
    };
    if ('onclose' in socket) socket.onclose = ({ code }) => isCurrent() && this.onlost(code);
    // An EventSource would reconnect by itself, without a random wait. So its first error counts as
    // the end of the connection. The status 204, which means "do not reconnect", is an error too.
    else socket.onerror = () => (isCurrent() ? this.onlost(0) : socket.close());
  }

  /** Close the connection, but not the one that it replaces: see `drop`. */
  close() {
    this.#socket?.close();
    this.#socket = null;
    this.#live_ms = 0;
    this.#seen_ms = this.#now;
    this.world.clearTimeout(this.#watchdog);
  }

  /** Close the replaced connection. */
  drop() {
    this.#old?.close();
    this.#old = null;
  }

  /**
   * Record that `hello` came. From now on, a silence of two heartbeats counts as a lost connection.
   *
   * @param {number} heartbeat_s
   */
  start(heartbeat_s) {
    this.drop();
    this.#watch(2_000 * heartbeat_s);
    this.#live_ms = this.#now;
  }

  /**
   * Hurry, because the reader looks at the page again. Return whether another connection must be
   * opened: this one was silent for over half a heartbeat, or without `hello` for TRY_MS. Frames
   * that a machine received before it slept arrive late, so the sleep counts as silence.
   *
   * @param {number} frozen_ms how long no timer has run
   */
  look(frozen_ms) {
    this.#looked_ms = this.#now;
    this.#tries = HURRIED_MAX;
    const limit_ms = this.#live_ms ? this.#silence_ms / 4 : TRY_MS;
    if (!this.#socket) return false;
    if (Math.max(this.silent_ms, frozen_ms) > limit_ms) return this.#replace();
    if (!this.#live_ms) this.#watch(TRY_MS);
    return false;
  }

  #replace() {
    if (this.#live_ms) {
      this.drop();
      [this.#old, this.#socket] = [this.#socket, null];
    }
    return true;
  }

  /** Whether the reader has just looked at the page again, and hurried tries are left. */
  get isHurried() {
    return this.#tries > 0 && this.world.navigator.onLine && this.#now - this.#looked_ms < LOOKED_MS;
  }

  /** Count a try, and return the longest wait for its `hello` or answer. */
  limit() {
    if (!this.isHurried) return HELLO_MS;
    this.#tries -= 1;
    return TRY_MS;
  }

  /** Milliseconds since `hello` came; null before it came. */
  get age_ms() {
    return this.#live_ms ? this.#now - this.#live_ms : null;
  }

  /** Milliseconds since the last frame, or since the connection was opened. */
  get silent_ms() {
    return this.#now - this.#seen_ms;
  }

  get #now() {
    return this.world.Date.now();
  }

  /** @param {number} silence_ms */
  #watch(silence_ms) {
    this.#silence_ms = silence_ms;
    this.world.clearTimeout(this.#watchdog);
    this.#watchdog = this.world.setTimeout(() => this.onlost(CUT), silence_ms);
  }

  /** @param {string} text */
  #receive(text) {
    this.#seen_ms = this.#now;
    this.#watch(this.#silence_ms);
    this.onmessage(text, false);
  }
}
