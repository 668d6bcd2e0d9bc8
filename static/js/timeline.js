// What a blog looks like at a position, and what a change makes of it. The twin of
// liveblog/timeline.py; tests/vectors/timeline.json holds both to one behaviour.
// Rules: pure. A timeline that is passed in is never altered.

/** @import {Applied, Change, Frame, Header, Outcome, Put, Timeline} from './types.js' */

/** Who misses more gets a reset: a page is then the smaller answer. */
const CHANGES_MAX = 200;

/** @param {Change} change */
const idOf = (change) => (change.op === 'blog' ? '#blog' : change.id);

/** @param {string} position */
export function parse(position) {
  const [epoch, offset] = position.split('.');
  return { epoch, offset: Number(offset) };
}

/**
 * A timeline as a page shows it.
 *
 * @param {{position: string, changes?: Change[], lowest?: number | null, below?: number | null}} page
 * @returns {Timeline}
 */
export function create({ position, changes = [], lowest = null, below = null }) {
  const latest = new Map(changes.map((change) => [idOf(change), change]));
  return { position, latest, floor: parse(position).offset, lowest, below };
}

/**
 * @param {string} held
 * @param {Frame} frame
 * @returns {Outcome}
 */
function judge(held, frame) {
  const [mine, theirs] = [parse(held), parse(frame.position)];
  if (mine.epoch !== theirs.epoch) return 'foreign';
  if (theirs.offset <= mine.offset) return 'ignored';
  return frame.from > mine.offset ? 'gap' : 'applied';
}

/**
 * Bring a timeline to the position of a frame.
 *
 * @param {Timeline} timeline
 * @param {Frame} frame
 * @returns {Applied}
 */
export function apply(timeline, frame) {
  const outcome = judge(timeline.position, frame);
  if (outcome !== 'applied') return { outcome, timeline, changes: [], fresh: [] };
  const latest = new Map(timeline.latest);
  const changes = frame.changes.filter((change) => {
    const isNews = change.offset > (latest.get(idOf(change))?.offset ?? 0);
    if (isNews) latest.set(idOf(change), change);
    return isNews;
  });
  const { offset } = parse(timeline.position);
  const fresh = changes.flatMap((it) => (it.op === 'put' && it.order > offset ? it.id : []));
  return { outcome, timeline: { ...timeline, position: frame.position, latest }, changes, fresh };
}

/**
 * Whether an entry stands among those loaded; outside, only key and pinned lists show it.
 *
 * @param {Timeline} timeline
 * @param {number} order
 */
export const isLoaded = ({ lowest, below }, order) =>
  order >= (lowest ?? 0) && order < (below ?? Infinity);

/**
 * The loaded entries, newest first.
 *
 * @param {Timeline} timeline
 * @returns {Put[]}
 */
export const entries = (timeline) =>
  [...timeline.latest.values()]
    .flatMap((it) => (it.op === 'put' && isLoaded(timeline, it.order) ? it : []))
    .sort((a, b) => b.order - a.order);

/**
 * @param {Timeline} timeline
 * @returns {Header | undefined} the header's last change, if one was seen
 */
export const header = ({ latest }) => /** @type {Header | undefined} */ (latest.get('#blog'));

/**
 * What someone at offset `since` misses: every entry at most once, as it is now, by offset.
 *
 * @param {Timeline} timeline
 * @param {number} since
 * @returns {Change[] | 'reset'}
 */
export function changes({ position, floor, latest }, since) {
  if (since > parse(position).offset || since < floor) return 'reset';
  const missed = [...latest.values()].filter(({ offset }) => offset > since);
  return missed.length > CHANGES_MAX ? 'reset' : missed.sort((a, b) => a.offset - b.offset);
}

/**
 * Whether a page fetched after a reset may replace what is held: it has reached the reset's
 * position, or belongs to an epoch that is newer than both.
 *
 * @param {string} page
 * @param {string} reset
 * @param {string} held
 */
export function isAcceptable(page, reset, held) {
  const [got, wanted, mine] = [page, reset, held].map(parse);
  return got.epoch === wanted.epoch ? got.offset >= wanted.offset : got.epoch !== mine.epoch;
}
