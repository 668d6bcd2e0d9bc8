// Checks each frame of a stream and decides how the stream reacts to the frame.
// Rules: no DOM, no clock. A frame is applied as a whole or not at all.

import { parse } from './timeline.js';

/** @import {Frame, Reader, Verdict, World} from './types.js' */

const RETRY_MS = /** @type {[number, number]} */ ([0, 10_000]);

/** @param {any} value */
const isPosition = (value) => typeof value === 'string' && /^\w+\.\d{1,15}\.\w+$/.test(value);

/** @param {any} value */
const isWindow = (value) => value?.length === 2 && value.every(Number.isFinite);

/**
 * @type {Record<string, (frame: any) => boolean>} for each kind of frame, a function that returns
 *   true for a valid frame; it returns false or throws for an invalid frame
 */
const KINDS = {
  // With a prototype, a frame of the kind "toString" would find an inherited function here.
  __proto__: /** @type {any} */ (null),
  hello: (it) => isPosition(it.position) && it.heartbeat_s > 0,
  changes: (it) =>
    isPosition(it.position) &&
    Number.isInteger(it.from) &&
    it.changes.every((/** @type {any} */ change) => isChange(change, parse(it.position).offset)),
  beat: (it) => it.position === null || isPosition(it.position),
  reset: (it) => isPosition(it.position) && isWindow(it.after_ms),
  bye: (it) => it.after_ms === null || isWindow(it.after_ms),
};

/** @param {any} it a change in a frame @param {number} top the offset in the frame's position */
function isChange(it, top) {
  if (!(it.offset > 0 && it.offset <= top)) return false;
  const isNamed = /^\w+$/.test(it.id);
  if (it.op === 'del') return isNamed;
  if (typeof it.html !== 'string') return false;
  if (it.op === 'blog') return typeof it.status === 'string';
  return it.op === 'put' && isNamed && it.order > 0 && it.order <= it.offset;
}

/** @param {string} text @returns {any} the frame; null when the text is not a valid frame */
function decode(text) {
  try {
    const frame = JSON.parse(text);
    return KINDS[frame.t](frame) ? frame : null;
  } catch {
    return null;
  }
}

/** Checks frames, and passes the changes of valid frames to `reader`, which shows them. */
export class Frames {
  #hasWarned = false;
  /** The reader's position when a frame was last rejected. */
  #rejected_at = '';

  /** @param {Reader} reader @param {World['console']} console */
  constructor(reader, console) {
    this.reader = reader;
    this.console = console;
  }

  /**
   * Check a frame, apply its changes, and return how the stream reacts.
   *
   * @param {string} text @param {string[]} [kinds] the kinds of frame that the caller accepts: an
   *   answer to a poll has only changes or a reset
   * @returns {Verdict}
   */
  read(text, kinds = Object.keys(KINDS)) {
    const frame = decode(text);
    if (!frame || !kinds.includes(frame.t)) return this.#reject();
    if (frame.t === 'changes') return this.#apply(frame);
    if (frame.t === 'beat') return this.#compare(frame);
    return frame;
  }

  /** @param {Frame} frame @returns {Verdict} */
  #apply(frame) {
    const outcome = this.reader.receive(frame);
    if (outcome === 'rejected') return this.#reject();
    return { t: outcome === 'gap' || outcome === 'foreign' ? 'cut' : 'ok' };
  }

  /**
   * Reconnect when the server's position in a heartbeat shows that the reader misses changes.
   *
   * @param {{position: string | null, now: string | null}} beat @returns {Verdict}
   */
  #compare({ position, now }) {
    this.reader.correctClock(now);
    const [mine, theirs] = [this.reader.position(), position ?? this.reader.position()].map(parse);
    const isMissing = theirs.epoch !== mine.epoch || theirs.offset > mine.offset;
    return { t: isMissing ? 'cut' : 'ok' };
  }

  /**
   * Reject a frame. The stream then reconnects, to get the same changes again. When a second frame
   * is rejected at the same position, the stream fetches the page.
   *
   * @returns {Verdict}
   */
  #reject() {
    if (!this.#hasWarned) this.console.warn('liveblog: frame rejected');
    this.#hasWarned = true;
    const position = this.reader.position();
    const isSecond = this.#rejected_at === position;
    this.#rejected_at = position;
    return isSecond ? { t: 'reset', position, after_ms: RETRY_MS } : { t: 'cut' };
  }
}
