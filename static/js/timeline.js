// A blog at a position, and what a frame makes of it, as a reader needs it; the server's is
// liveblog/timeline.py, both held to tests/vectors/timeline.json. Rules: pure. A timeline is never
// altered, only succeeded.

/** @import {Applied, Change, Frame, Header, Outcome, Page, Timeline} from './types.js' */

/** @param {any} value */
const isPosition = (value) => typeof value === 'string' && /^\w+\.\d{1,15}\.\w+$/.test(value);

/** @param {any} value */
const isWindow = (value) => value?.length === 2 && value.every(Number.isFinite);

/** @type {Record<string, (frame: any) => boolean>} they may throw, too */
const KINDS = {
  __proto__: /** @type {any} */ (null), // what every object has is no kind
  hello: (it) => isPosition(it.position) && it.heartbeat_s > 0,
  changes: (it) =>
    isPosition(it.position) &&
    Number.isInteger(it.from) &&
    it.changes.every((/** @type {any} */ change) => isChange(change, parse(it.position).offset)),
  beat: (it) => it.position === null || isPosition(it.position),
  reset: (it) => isPosition(it.position) && isWindow(it.after_ms),
  bye: (it) => it.after_ms === null || isWindow(it.after_ms),
};

/** @param {any} it @param {number} top nothing is beyond it */
function isChange(it, top) {
  if (!(it.offset > 0 && it.offset <= top)) return false;
  const isNamed = /^\w+$/.test(it.id);
  if (it.op === 'del') return isNamed;
  if (typeof it.html !== 'string') return false;
  if (it.op === 'blog') return typeof it.status === 'string';
  return it.op === 'put' && isNamed && it.order > 0 && it.order <= it.offset;
}

/** @param {string} text @returns {any} the frame that it is; null for what none can be */
export function decode(text) {
  try {
    const frame = JSON.parse(text);
    return KINDS[frame.t](frame) ? frame : null;
  } catch {
    return null;
  }
}

/** @param {Change} change */
const nameOf = (change) => (change.op === 'blog' ? '#blog' : change.id);

/** @param {string} position */
export function parse(position) {
  const [epoch, offset] = position.split('.');
  return { epoch, offset: Number(offset) };
}

/** @param {Page} page @returns {Timeline} */
export function create({ position, changes = [], lowest = null, below = null }) {
  const latest = new Map(changes.map((change) => [nameOf(change), change]));
  return { position, latest, lowest, below };
}

/** @param {string} held @param {Frame} frame @returns {Outcome} */
function judge(held, frame) {
  const [mine, theirs] = [parse(held), parse(frame.position)];
  if (mine.epoch !== theirs.epoch) return 'foreign';
  if (theirs.offset <= mine.offset) return 'ignored';
  return frame.from > mine.offset ? 'gap' : 'applied';
}

/** @param {Timeline} timeline @param {Frame} frame @returns {Applied} */
export function apply(timeline, frame) {
  const outcome = judge(timeline.position, frame);
  if (outcome !== 'applied') return { outcome, timeline, changes: [], fresh: [] };
  const [latest, changes] = news(timeline, frame.changes);
  const { offset } = parse(timeline.position);
  const fresh = changes.flatMap((it) => (it.op === 'put' && it.order > offset ? it.id : []));
  return { outcome, timeline: { ...timeline, position: frame.position, latest }, changes, fresh };
}

/** All the markup of a night would stay in memory. */
const FORGOTTEN = { html: undefined };

/** @param {Timeline} timeline @param {Change[]} changes @returns {[Map<string, Change>, Change[]]} */
function news(timeline, changes) {
  const latest = new Map(timeline.latest);
  const those = changes.filter((change) => {
    const isNews = change.offset > (latest.get(nameOf(change))?.offset ?? 0);
    if (isNews) latest.set(nameOf(change), { ...change, ...FORGOTTEN });
    return isNews;
  });
  return [latest, those];
}

/**
 * Take in the next older page; null for one of another history, from before it was asked for, that
 * does not follow, or in which something was altered meanwhile. What it has ahead of the timeline
 * counts as of now: the frame that tells it is still to be heard by the lists beside the feed.
 *
 * @param {Timeline} timeline @param {Page} page @param {string} asked the position then held
 */
export function extend(timeline, { position, changes = [], lowest = null, below = null }, asked) {
  const [mine, theirs, then] = [timeline.position, position, asked].map(parse);
  const isBehind = mine.epoch !== theirs.epoch || theirs.offset < then.offset;
  const isStale = changes.some((it) => {
    const latest = timeline.latest.get(nameOf(it));
    return latest?.op === 'put' && latest.offset > it.offset;
  });
  if (isBehind || isStale || below !== timeline.lowest) return null;
  const known = changes.map((it) => ({ ...it, offset: Math.min(it.offset, mine.offset) }));
  const [latest] = news(timeline, known);
  return { ...timeline, latest, lowest };
}

/** Other entries concern the key and pinned lists. @param {Timeline} _ @param {number} order */
export const isLoaded = ({ lowest, below }, order) =>
  order >= (lowest ?? 0) && order < (below ?? Infinity);

/** @param {Timeline} timeline @returns {Header | undefined} */
export const header = ({ latest }) => /** @type {Header | undefined} */ (latest.get('#blog'));

/**
 * Whether a page may replace what is held: it has reached the reset, or its epoch is newer.
 *
 * @param {string} page @param {string} reset @param {string} held
 */
export function isAcceptable(page, reset, held) {
  const [got, wanted, mine] = [page, reset, held].map(parse);
  return got.epoch === wanted.epoch ? got.offset >= wanted.offset : got.epoch !== mine.epoch;
}
