// The choice between WebSocket, Server-Sent Events and polling.
// Rules: pure; no clock, no network.

// The transports, best first.
export const WEBSOCKET = 0;
export const EVENTS = 1;
export const POLLING = 2;

/** Failures before the next transport is tried; TRIES_PROVEN is for a transport that has worked. */
const TRIES = 2;
export const TRIES_PROVEN = 6;
/** After this number of polls, WebSocket and Server-Sent Events are tried again. */
const POLLS = 12;

/** Counts tries and failures, and chooses the transport for the next try. */
export class Transports {
  current = WEBSOCKET;
  /**
   * Whether better transports are being tried while polling works. The status line does not show
   * when a better transport fails.
   */
  isProbing = false;
  #tries = 0;
  #polls = 0;
  /** @type {Set<number>} transports that have received a `hello` */
  #proven = new Set();

  /** Start over with the best transport: on another network a failed transport may work. */
  restart() {
    this.current = WEBSOCKET;
    this.#tries = 0;
  }

  /** Record that the current transport received a `hello`. */
  worked() {
    this.#proven.add(this.current);
    this.#tries = this.#polls = 0;
    this.isProbing = false;
  }

  /**
   * Record that the current transport failed before its `hello`. Return whether to try the next
   * transport at once: true until a transport has worked or all three have failed.
   *
   * @param {boolean} [isHurried] true: the try was short, so a transport that has worked stays
   * @param {boolean} [isRefused] true: the server refused it, so another try is useless
   */
  failed(isHurried, isRefused) {
    const [isNew, isProven] = [!this.#proven.size, this.#proven.has(this.current)];
    if (isHurried && isProven && !isRefused) return false;
    this.#tries += 1;
    const tries_max = isNew || isRefused ? 1 : isProven ? TRIES_PROVEN : TRIES;
    if (this.#tries < tries_max && !this.isProbing) return false;
    if (this.current === POLLING) this.isProbing = false;
    this.current = (this.current + 1) % 3;
    this.#tries = 0;
    return (isNew || isRefused) && this.current !== WEBSOCKET;
  }

  /** Record a poll that was answered. After every POLLS polls, try the better transports again. */
  polled() {
    this.#tries = 0;
    this.#polls = (this.#polls + 1) % POLLS;
    this.isProbing = this.#polls === 0;
    if (this.isProbing) this.current = WEBSOCKET;
  }
}
