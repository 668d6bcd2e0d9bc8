// Which tabs of this browser are alive, and which of them does the work that only one tab may do.
// A living tab holds a Web Lock with its id. Pages of plain http have no Web Locks: there, living
// tabs answer on a BroadcastChannel.
// Rules: no document. Locks, channel, storage and timer are passed in.

/**
 * @typedef {object} Parts
 * @property {LockManager} [locks] `navigator.locks`
 * @property {BroadcastChannel} [channel]
 * @property {Pick<Storage, 'getItem' | 'setItem'>} [storage] `sessionStorage`
 * @property {(run: () => void, wait_ms: number) => any} setTimeout
 * @property {() => string} newId
 */

const LOCK = 'liveblog tab ';
const STORED = 'liveblog tab';
/** A reload frees the lock of the page before within this time. */
const LOCK_MS = 400;
/** Living tabs answer within this time. */
const TAB_ANSWER_MS = 150;

/** @returns {string} 16 random characters, 0-9 and a-z */
export const newTab = () =>
  [...crypto.getRandomValues(new Uint32Array(16))].map((it) => (it % 36).toString(36)).join('');

export class Tabs {
  /** The id of this tab; `start` sets it. */
  id = '';
  /** @type {Set<string>} the ids that this tab holds */
  #held = new Set();
  /** Called when this tab took another id, because another tab holds its own. */
  onrenew = () => {};
  /**
   * The answers of living tabs: the ids that each holds, and its own; null: this tab has not asked.
   *
   * @type {{tabs: string[], main: string}[] | null}
   */
  #answers = null;

  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
    parts.channel?.addEventListener('message', ({ data }) => this.#receive(data));
  }

  /**
   * Take an id: the stored one of an earlier page in this tab, else a new one. A duplicated tab
   * gets a copy of the stored id, but a living tab holds it.
   *
   * @param {boolean} [isSame] false: always a new one
   */
  async start(isSame = true) {
    const stored = isSame && this.#stored();
    if (stored && (await this.hold(stored))) this.id = stored;
    else await this.#renew();
    return this.id;
  }

  async #renew() {
    this.#held.delete(this.id);
    this.id = this.parts.newId();
    this.#held.add(this.id);
    // Nobody else has the id, so that this only takes time.
    if (this.parts.locks) await this.#lock(this.parts.locks, this.id);
    try {
      this.parts.storage?.setItem(STORED, this.id);
    } catch {
      // The browser forbids storage. The next page then offers this tab's text as left over.
    }
  }

  #stored() {
    try {
      return this.parts.storage?.getItem(STORED) ?? '';
    } catch {
      return '';
    }
  }

  /**
   * Hold an id until this page closes. Return false when another living tab holds it.
   *
   * @param {string} id @returns {Promise<boolean>}
   */
  async hold(id) {
    if (this.#held.has(id)) return true;
    const { locks } = this.parts;
    const isFree = locks ? await this.#lock(locks, id) : !(await this.living()).has(id);
    if (isFree) this.#held.add(id);
    return isFree;
  }

  /** @param {string} id @returns {boolean} whether this tab holds it */
  holds(id) {
    return this.#held.has(id);
  }

  /** @param {LockManager} locks @param {string} id @returns {Promise<boolean>} */
  #lock(locks, id) {
    const stop = new AbortController();
    if (id !== this.id) this.parts.setTimeout(() => stop.abort(), LOCK_MS);
    return new Promise((done) => {
      const keep = () => (done(true), new Promise(() => {}));
      locks.request(LOCK + id, { signal: stop.signal }, keep).catch(() => done(false));
    });
  }

  /** Return the ids that living tabs of this browser hold, this tab's included. */
  async living() {
    const { locks } = this.parts;
    if (locks) {
      const names = ((await locks.query()).held ?? []).map((it) => it.name ?? '');
      return new Set(names.filter((it) => it.startsWith(LOCK)).map((it) => it.slice(LOCK.length)));
    }
    const others = (await this.#others()).flatMap((it) => it.tabs);
    return new Set([...others, ...this.#held]);
  }

  async #others() {
    const answers = (this.#answers ??= []);
    this.parts.channel?.postMessage({ tabs: 'who' });
    await new Promise((done) => this.parts.setTimeout(() => done(null), TAB_ANSWER_MS));
    this.#answers = null;
    return answers;
  }

  /** @param {any} message of another tab */
  #receive({ tabs, main }) {
    if (tabs === 'who') {
      if (this.id) this.parts.channel?.postMessage({ tabs: [...this.#held], main: this.id });
    } else if (tabs) this.#answers?.push({ tabs, main });
    // A busy tab answers late.
    if (this.id && tabs?.includes?.(this.id)) this.#renew().then(() => this.onrenew());
  }

  /**
   * Run `work` unless another tab runs work of this name. Without locks, the living tab whose own
   * id is the lowest runs the work.
   *
   * @param {string} name @param {() => Promise<void>} work
   */
  async alone(name, work) {
    const { locks } = this.parts;
    if (locks)
      return locks.request(name, { ifAvailable: true }, (lock) => (lock ? work() : undefined));
    if (!(await this.#others()).some((it) => it.main < this.id)) await work();
  }
}
