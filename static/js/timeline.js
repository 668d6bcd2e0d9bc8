// A blog at a position, and what a frame makes of it; the twin of liveblog/timeline.py, both held
// to tests/vectors/timeline.json. Rules: pure. A timeline is never altered, only succeeded.

/** @import {Applied, Change, Frame, Header, Outcome, Page, Put, Timeline} from './types.js' */

/** Beyond it a page is the smaller answer. */
const CHANGES_MAX = 200;

/** @param {Change} change */
const idOf = (change) => (change.op === 'blog' ? '#blog' : change.id);

/** @param {string} position */
export function parse(position) {
  const [epoch, offset] = position.split('.');
  return { epoch, offset: Number(offset) };
}

/** @param {Page} page @returns {Timeline} */
export function create({ position, changes = [], lowest = null, below = null }) {
  const latest = new Map(changes.map((change) => [idOf(change), change]));
  return { position, latest, floor: parse(position).offset, lowest, below };
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

/** Other entries concern the key and pinned lists. @param {Timeline} _ @param {number} order */
export const isLoaded = ({ lowest, below }, order) =>
  order >= (lowest ?? 0) && order < (below ?? Infinity);

/** @param {Timeline} timeline @returns {Put[]} those loaded, newest first */
export const entries = (timeline) =>
  [...timeline.latest.values()]
    .flatMap((it) => (it.op === 'put' && isLoaded(timeline, it.order) ? it : []))
    .sort((a, b) => b.order - a.order);

/** @param {Timeline} timeline @returns {Header | undefined} */
export const header = ({ latest }) => /** @type {Header | undefined} */ (latest.get('#blog'));

/**
 * What is missed since an offset: each entry once, as it is now.
 *
 * @param {Timeline} timeline @param {number} since @returns {Change[] | 'reset'}
 */
export function changes({ position, floor, latest }, since) {
  if (since > parse(position).offset || since < floor) return 'reset';
  const missed = [...latest.values()].filter(({ offset }) => offset > since);
  const entries = missed.filter((it) => it.op !== 'blog');
  return entries.length > CHANGES_MAX ? 'reset' : missed.sort((a, b) => a.offset - b.offset);
}

/**
 * Whether a page may replace what is held: it has reached the reset, or its epoch is newer.
 *
 * @param {string} page @param {string} reset @param {string} held
 */
export function isAcceptable(page, reset, held) {
  const [got, wanted, mine] = [page, reset, held].map(parse);
  return got.epoch === wanted.epoch ? got.offset >= wanted.offset : got.epoch !== mine.epoch;
}
