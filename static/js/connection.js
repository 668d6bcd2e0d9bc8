// One WebSocket or EventSource, with a watchdog that reports a silent connection as lost.
// Rules: no DOM. A closed connection calls no callback.

import { WEBSOCKET } from './transports.js';

/** @import {World} from './types.js' */

/**
 * The longest wait for `hello`, the first frame. Some proxies buffer a stream, so no frame comes.
 */
const HELLO_MS = 10_000;
/** The close code of a connection that ended without a close frame (RFC 6455, section 7.4.1). */
export const CUT = 1006;

/** Opens one connection at a time; calls `onmessage` for each frame, `onlost` after a failure. */
export class Connection {
  /** @type {WebSocket | EventSource | null} */
  #socket = null;
  /** @type {any} */
  #watchdog;
  #silence_ms = 0;
  #seen_ms = 0;
  #live_ms = 0;

  /** @param {string} _ the text of a frame */
  onmessage = (_) => {};
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
    this.#watch(HELLO_MS);
    const { WebSocket, EventSource } = this.world;
    const socket =
      transport === WEBSOCKET ? new WebSocket(url, ['liveblog.v1']) : new EventSource(url);
    this.#socket = socket;
    const isCurrent = () => socket === this.#socket;
    socket.onmessage = ({ data }) => isCurrent() && this.#receive(data);
    if ('onclose' in socket) socket.onclose = ({ code }) => isCurrent() && this.onlost(code);
    // An EventSource would reconnect by itself, without a random wait. So its first error counts as
    // the end of the connection. The status 204, which means "do not reconnect", is an error too.
    else socket.onerror = () => isCurrent() && this.onlost(0);
  }

  close() {
    this.#socket?.close();
    this.#socket = null;
    this.#live_ms = 0;
    this.world.clearTimeout(this.#watchdog);
  }

  /**
   * Record that `hello` came. From now on, a silence of two heartbeats counts as a lost connection.
   *
   * @param {number} heartbeat_s
   */
  start(heartbeat_s) {
    this.#watch(2_000 * heartbeat_s);
    this.#live_ms = this.#now;
  }

  /** Milliseconds since `hello` came; null before it came. */
  get age_ms() {
    return this.#live_ms ? this.#now - this.#live_ms : null;
  }

  /**
   * Whether a connection was silent for too long after its `hello`. The watchdog's timer does not
   * run while the machine sleeps, so the stream checks this when the machine wakes.
   */
  get isStale() {
    return this.#live_ms > 0 && this.#now - this.#seen_ms > this.#silence_ms;
  }

  get #now() {
    return this.world.Date.now();
  }

  /** @param {number} silence_ms */
  #watch(silence_ms) {
    this.#silence_ms = silence_ms;
    this.#seen_ms = this.#now;
    this.world.clearTimeout(this.#watchdog);
    this.#watchdog = this.world.setTimeout(() => this.onlost(CUT), silence_ms);
  }

  /** @param {string} text */
  #receive(text) {
    this.#watch(this.#silence_ms);
    this.onmessage(text);
  }
}
