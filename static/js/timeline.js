// A blog at a position, and what a frame makes of it, as a reader needs it; the server's is
// liveblog/timeline.py, both held to tests/vectors/timeline.json. Rules: pure. A timeline is never
// altered, only succeeded.

/** @import {Applied, Change, Frame, Header, Outcome, Page, Timeline} from './types.js' */

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
