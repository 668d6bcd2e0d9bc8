// A stream that comes back by itself: WebSocket, else Server-Sent Events, else polling. What frames
// mean is the reader's affair. Rules: no DOM; sockets, timers, clock, chance come from `world`.

import { decode, parse } from './timeline.js';

/** @import {Frame, Reader, State, Urls, Wait, Window, World} from './types.js' */

const STABLE_MS = 5_000;
/** @type {Record<string, Window>} */
const WAIT_MS = {
  soon: [0, 1_000],
  retry: [0, 10_000], // spreads all whom one cut has hit
  later: [30_000, 40_000],
  poll: [8_000, 12_000],
  ended: [540_000, 660_000],
};
/** Without `hello` by then it was swallowed on the way. */
export const HELLO_MS = 10_000;
/** Before the next transport; one that has worked gets more. */
const TRIES = 2;
const TRIES_PROVEN = 6;
/** Before better transports get another try. */
const POLLS = 12;

const CUT = 1006;
const ENDED = 4510;
const AWAY = [4500, 4504];
const LATER = [1002, 1003, 1007, 1008, 1009];

// The transports, best first; 1 is Server-Sent Events.
const WEBSOCKET = 0;
const POLLING = 2;

export class Stream {
  #lane = WEBSOCKET;
  #tries = 0;
  #polls = 0;
  /** @type {Set<number>} */
  #proven = new Set();
  /** Better transports are tried while polling works. */
  #isQuiet = false;
  #hasWarned = false;
  /** Where something was refused: there twice, and the page is fetched. */
  #refused_at = '';
  /** @type {'' | 'asleep' | 'away' | 'ended' | 'paused'} why there is to be no stream */
  #rests = '';

  /** The connection's number: what belongs to an earlier one is void. */
  #turn = 0;
  #close = () => {};
  #opened_ms = 0;
  #seen_ms = 0;
  #silence_ms = 0;
  /** @type {Window | null | undefined} */
  #bye;
  /** @type {any} wait or watchdog, never both */
  #timer;
  /** @type {(() => void) | null} cuts a wait short */
  #hurry = null;
  /** The server asked for the wait. */
  #isBound = false;
  #retry_at = 0;

  /** @param {Reader} reader @param {Urls} urls @param {World} world */
  constructor(reader, urls, world) {
    this.reader = reader;
    this.urls = urls;
    this.world = world;
  }

  start() {
    this.#rests = this.reader.hasEnded() ? 'ended' : '';
    this.#connect();
  }

  /** The page is seen again. */
  wake() {
    if (this.#rests === 'asleep') return this.start();
    if (this.#rests === 'ended') return this.#connect();
    if (this.#rests) return;
    if (this.#hurry) return this.#hurry();
    if (this.#opened_ms && this.#now() - this.#seen_ms > this.#silence_ms) this.#connect();
  }

  /** Perhaps another network: what failed on the last may work. */
  online() {
    this.#lane = WEBSOCKET;
    this.#tries = 0;
    if (this.#isBound && !this.#rests) this.#show('lost', this.#retry_at);
    this.wake();
  }

  offline() {
    if (this.#rests) return;
    if (this.#isBound) this.#show('offline');
    else this.#lost(CUT);
  }

  /** As the reader wants it; what comes meanwhile is caught up with. @param {boolean} isPaused */
  pause(isPaused) {
    if (this.#rests === 'away') return false;
    if (!isPaused) this.start();
    else {
      this.#rests = 'paused';
      this.#stop();
      this.#show('paused');
    }
    return true;
  }

  /** A page of another epoch was seen: what is held is void. @param {string} position of it */
  startOver(position) {
    if (['', 'ended'].includes(this.#rests)) this.#reset({ position, after_ms: [0, 0] });
  }

  /** The page is left or frozen. */
  sleep() {
    if (!['away', 'paused'].includes(this.#rests)) this.#rests = 'asleep';
    this.#stop();
  }

  #now() {
    return this.world.Date.now();
  }

  #stop() {
    this.#turn += 1;
    this.#close();
    this.#close = () => {};
    this.world.clearTimeout(this.#timer);
    this.#hurry = null;
    this.#isBound = false;
    this.#bye = undefined;
    this.#opened_ms = 0;
  }

  #connect() {
    this.#stop();
    const hasEnded = this.#rests === 'ended';
    if (hasEnded) this.#show('ended');
    if (hasEnded || this.#lane === POLLING) return void this.#poll();
    this.#watch(HELLO_MS);
    try {
      this.#open(this.#turn);
    } catch {
      this.#lost(CUT); // by a policy
    }
  }

  /** @param {number} turn */
  #open(turn) {
    const { reader, urls, world } = this;
    const since = reader.position();
    const socket = this.#lane === WEBSOCKET
      ? new world.WebSocket(urls.live(since), ['liveblog.v1'])
      : new world.EventSource(urls.events(since));
    this.#close = () => socket.close();
    const isCurrent = () => turn === this.#turn;
    socket.onmessage = ({ data }) => isCurrent() && this.#receive(data);
    if ('onclose' in socket) socket.onclose = ({ code }) => isCurrent() && this.#lost(code);
    // Its own return has no jitter. A 204 ends here too.
    else socket.onerror = () => isCurrent() && this.#lost(reader.hasEnded() ? ENDED : CUT);
  }

  /** @param {number} silence_ms */
  #watch(silence_ms) {
    this.#silence_ms = silence_ms;
    this.#seen_ms = this.#now();
    this.world.clearTimeout(this.#timer);
    this.#timer = this.world.setTimeout(() => this.#lost(CUT), silence_ms);
  }

  /** @param {string} text */
  #receive(text) {
    this.#watch(this.#silence_ms);
    const frame = decode(text);
    if (!frame) return this.#refuse();
    if (frame.t === 'hello') this.#hello(frame.heartbeat_s);
    if (frame.t === 'changes') this.#take(frame);
    if (frame.t === 'beat') this.#beat(frame);
    if (frame.t === 'reset') this.#reset(frame);
    if (frame.t === 'bye') this.#goodbye(frame.after_ms);
  }

  /** @param {number} heartbeat_s */
  #hello(heartbeat_s) {
    this.#watch(2_000 * heartbeat_s);
    this.#opened_ms = this.#now();
    this.#proven.add(this.#lane);
    this.#tries = this.#polls = 0;
    this.#isQuiet = false;
    this.#show('live');
  }

  /** @param {Frame} frame */
  #take(frame) {
    const outcome = this.reader.take(frame);
    if (outcome === 'refused') this.#refuse();
    else if (outcome === 'gap' || outcome === 'foreign') this.#lost(CUT);
    else return true;
    return false;
  }

  /** What makes no sense is not applied, no part of it; what is so missed is asked for. */
  #refuse() {
    if (!this.#hasWarned) this.world.console.warn('liveblog: a frame makes no sense');
    this.#hasWarned = true;
    const position = this.reader.position();
    const isAgain = this.#refused_at === position;
    this.#refused_at = position;
    if (isAgain) this.#reset({ position, after_ms: WAIT_MS.retry });
    else this.#lost(CUT);
  }

  /** @param {{position: string | null, now: string | null}} frame */
  #beat({ position, now }) {
    this.reader.correctClock(now);
    if (!position) return;
    const [mine, theirs] = [this.reader.position(), position].map(parse);
    if (theirs.epoch !== mine.epoch || theirs.offset > mine.offset) this.#lost(CUT);
  }

  /** @param {Window | null} after_ms */
  #goodbye(after_ms) {
    this.#bye = after_ms;
    if (this.#lane === WEBSOCKET) return; // a code follows
    this.#lost(after_ms ? CUT : this.reader.hasEnded() ? ENDED : AWAY[0]);
  }

  /** @param {number} code with the `bye` before it decides what comes next */
  #lost(code) {
    const [bye, opened_ms] = [this.#bye, this.#opened_ms];
    this.#stop();
    if (code === ENDED || this.#rests) return this.#rest();
    if (AWAY.includes(code) || bye === null) return this.#leave();
    const isUnheard = !opened_ms && code === CUT && !bye;
    if (isUnheard && this.#miss()) return this.#connect();
    const asked = LATER.includes(code) ? WAIT_MS.later : bye;
    if (asked) return this.#wait(asked, { isBinding: true });
    if (this.#isQuiet) return this.#connect();
    const wasStable = opened_ms && this.#now() - opened_ms >= STABLE_MS;
    this.#wait(wasStable ? WAIT_MS.soon : WAIT_MS.retry);
  }

  /** Say whether the next transport is to be tried at once: none was ever heard of. */
  #miss() {
    this.#tries += 1;
    const isNew = !this.#proven.size;
    const tries_max = isNew ? 1 : this.#proven.has(this.#lane) ? TRIES_PROVEN : TRIES;
    if (this.#tries < tries_max && !this.#isQuiet) return false;
    if (this.#lane === POLLING) this.#isQuiet = false;
    this.#lane = (this.#lane + 1) % 3;
    this.#tries = 0;
    return isNew && this.#lane !== WEBSOCKET;
  }

  /** @param {Window} window @param {Wait} [how] */
  #wait([from_ms, to_ms], { isBinding, isLost = true, then = () => this.#connect() } = {}) {
    const wait_ms = from_ms + this.world.Math.random() * (to_ms - from_ms);
    this.#timer = this.world.setTimeout(then, wait_ms);
    this.#hurry = isBinding ? null : then;
    this.#isBound = !!isBinding;
    this.#retry_at = this.#now() + wait_ms;
    if (!isLost || this.#rests) return;
    this.#show(this.world.navigator.onLine ? 'lost' : 'offline', this.#retry_at);
  }

  /** Ended: no stream, but a look now and then. */
  #rest() {
    this.#rests = 'ended';
    this.#show('ended');
    this.#wait(WAIT_MS.ended);
  }

  /** Stay away until the page is loaded anew. */
  #leave() {
    this.#rests = 'away';
    this.#show('lost');
  }

  async #poll() {
    const turn = this.#turn;
    const { status, text } = await this.#get(this.urls.changes(this.reader.position()));
    if (turn !== this.#turn) return;
    if (status === 404) return this.#leave();
    if (status !== 200) return this.#lost(CUT);
    const frame = decode(text);
    if (frame?.t === 'reset') return this.#reset(frame);
    if (frame?.t !== 'changes') return this.#refuse();
    if (this.#take(frame)) this.#polled();
  }

  #polled() {
    if (this.reader.hasEnded()) return this.#rest();
    if (this.#rests) return this.start();
    this.#show('live');
    this.#wait(WAIT_MS.poll, { isLost: false });
    this.#tries = 0;
    this.#polls = (this.#polls + 1) % POLLS;
    this.#isQuiet = this.#polls === 0;
    if (this.#isQuiet) this.#lane = WEBSOCKET;
  }

  /** @param {{position: string, after_ms: Window}} frame */
  #reset({ position, after_ms }) {
    this.#stop();
    this.#wait(after_ms, { isBinding: true, then: () => this.#refetch(position) });
  }

  /**
   * After so many tries the server says anew what holds: the store may be back at what is held.
   *
   * @param {string} position @param {boolean} isGone
   */
  async #refetch(position, isGone = false, tries = TRIES_PROVEN) {
    this.#stop();
    const turn = this.#turn;
    const { status, text } = await this.#get(this.urls.page(position, isGone));
    if (turn !== this.#turn) return;
    if (status === 404 && isGone) return this.#leave();
    if (status === 404 || status === 410) return void this.#refetch(position, true);
    if (status === 200 && this.reader.replace(text, position)) return this.start();
    const again = () => (tries > 1 ? this.#refetch(position, isGone, tries - 1) : this.start());
    this.#wait(WAIT_MS.retry, { then: again });
  }

  /** @param {string} url */
  async #get(url) {
    try {
      const answer = await this.world.fetch(url, { signal: AbortSignal.timeout(HELLO_MS) });
      this.reader.correctClock(answer.headers?.get('date'));
      return { status: answer.status, text: await answer.text() };
    } catch {
      return { status: 0, text: '' };
    }
  }

  /** @param {State['name']} name @param {number | null} retry_at */
  #show(name, retry_at = null) {
    this.reader.show({ name, retry_at });
  }
}
