// One WebSocket or EventSource, and a watchdog that ends a silent one.
// Rules: no DOM; a closed connection calls nothing.

import { WEBSOCKET } from './transports.js';

/** @import {World} from './types.js' */

/** The longest wait for a `hello`: some proxies hold a stream back. */
const HELLO_MS = 10_000;
/** The close code of a connection that was cut. */
export const CUT = 1006;

export class Connection {
  /** @type {WebSocket | EventSource | null} */
  #socket = null;
  /** @type {any} */
  #watchdog;
  #silence_ms = 0;
  #seen_ms = 0;
  #live_ms = 0;

  /** @param {string} _ a message */
  onmessage = (_) => {};
  /** @param {number} _ the close code; 0: an EventSource ended, which has no code */
  onlost = (_) => {};

  /** @param {World} world */
  constructor(world) {
    this.world = world;
  }

  /**
   * Open a connection in place of the earlier one. Throws when a policy of the browser forbids it.
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
    // An EventSource reconnects without jitter, so the first error ends it; a 204 is an error here.
    else socket.onerror = () => isCurrent() && this.onlost(0);
  }

  close() {
    this.#socket?.close();
    this.#socket = null;
    this.#live_ms = 0;
    this.world.clearTimeout(this.#watchdog);
  }

  /** Record the `hello`; from now on a silence of two heartbeats ends the connection. @param {number} heartbeat_s */
  start(heartbeat_s) {
    this.#watch(2_000 * heartbeat_s);
    this.#live_ms = this.#now;
  }

  /** Milliseconds since the hello; null without one. */
  get age_ms() {
    return this.#live_ms ? this.#now - this.#live_ms : null;
  }

  /** Whether a live connection was silent for too long. Timers miss that while the machine sleeps. */
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
