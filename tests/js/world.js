// A stand-in for the browser in which a stream runs: a test sets the clock and the random numbers,
// sends frames on sockets, and answers requests.

/** Passes a test's frames to the stream, and records whether the stream closed the connection. */
class Connection {
  isClosed = false;
  /** @type {any} */
  onmessage = null;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
  }

  close() {
    this.isClosed = true;
  }

  /** @param {object | string} frame */
  send(frame) {
    this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
  }
}

/** A stand-in for a WebSocket. */
class Socket extends Connection {
  /** @type {any} */
  onclose = null;

  /** End the connection, as the server or a failing network does. @param {number} code */
  end(code) {
    this.onclose?.({ code });
  }
}

/** A stand-in for an EventSource. */
class Source extends Connection {
  /** @type {any} */
  onerror = null;

  end() {
    this.onerror?.({});
  }
}

/** Makes `world`, a stand-in for `window`; records connections, requests and warnings. */
export class FakeWorld {
  now_ms = 1_000_000;
  /** The number that `Math.random` returns. */
  chance = 0.5;
  isOnline = true;
  /** @type {(Socket | Source)[]} in the order of opening */
  opened = [];
  /** @type {{url: string, answer: (status: number, body?: object | string) => Promise<void>}[]} */
  requests = [];
  /** @type {string[]} */
  warnings = [];
  /** @type {Map<number, {at_ms: number, run: () => void}>} */
  #timers = new Map();
  #next = 1;

  /** Return a stand-in for `window`. @returns {import('../../static/js/types.js').World} */
  get world() {
    const open = (/** @type {Socket | Source} */ it) => this.opened[this.opened.push(it) - 1];
    return /** @type {any} */ ({
      WebSocket: function (/** @type {string} */ url) {
        return open(new Socket(url));
      },
      EventSource: function (/** @type {string} */ url) {
        return open(new Source(url));
      },
      fetch: (/** @type {string} */ url) => this.#request(url),
      setTimeout: (/** @type {() => void} */ run, /** @type {number} */ wait_ms) => {
        this.#timers.set(this.#next, { at_ms: this.now_ms + wait_ms, run });
        return this.#next++;
      },
      clearTimeout: (/** @type {number} */ timer) => this.#timers.delete(timer),
      Date: { now: () => this.now_ms },
      Math: { random: () => this.chance },
      navigator: this.#navigator(),
      console: { warn: (/** @type {string} */ text) => this.warnings.push(text) },
    });
  }

  #navigator() {
    const fake = this;
    return {
      get onLine() {
        return fake.isOnline;
      },
    };
  }

  /** @param {string} url */
  #request(url) {
    return new Promise((resolve, reject) => {
      const answer = async (/** @type {number} */ status, /** @type {any} */ body = '') => {
        const text = typeof body === 'string' ? body : JSON.stringify(body);
        if (status) resolve({ status, text: async () => text });
        else reject(new TypeError('network'));
        // Return to the test only after the stream has handled the answer.
        await new Promise((done) => setImmediate(done));
      };
      this.requests.push({ url, answer });
    });
  }

  get socket() {
    return /** @type {Socket} */ (this.opened.at(-1));
  }

  get request() {
    return this.requests[this.requests.length - 1];
  }

  /** Milliseconds until the next timer is due; null when no timer is set. */
  get wait_ms() {
    const due = [...this.#timers.values()].map(({ at_ms }) => at_ms - this.now_ms);
    return due.length ? Math.min(...due) : null;
  }

  /** Let time pass, and run the timers that fall due, in order. @param {number} ms */
  pass(ms) {
    const end_ms = this.now_ms + ms;
    for (;;) {
      const due = [...this.#timers].sort(([, a], [, b]) => a.at_ms - b.at_ms)[0];
      if (!due || due[1].at_ms > end_ms) break;
      this.#timers.delete(due[0]);
      this.now_ms = due[1].at_ms;
      due[1].run();
    }
    this.now_ms = end_ms;
  }
}
