// A blog's state at a position, and the result of applying a frame to that state. The server's
// counterpart is liveblog/blog/timeline.py; both pass tests/vectors/timeline.json.
// Rules: pure. No function alters a timeline; each returns a new timeline.

/** @import {Applied, Change, Frame, Header, Outcome, Page, Put, Timeline} from './types.js' */
/** @typedef {Pick<Put, 'order' | 'pin_order'>} Pin the numbers that sort pinned entries */

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

/** The timeline keeps changes without their markup, which would take much memory. */
const WITHOUT_HTML = { html: undefined };

/**
 * Return each entry's latest change with `changes` added, and the list of added changes. A change
 * is added when its offset is higher than that of the entry's latest change.
 *
 * @param {Timeline} timeline @param {Change[]} changes
 * @returns {[Map<string, Change>, Change[]]}
 */
function news(timeline, changes) {
  const latest = new Map(timeline.latest);
  const added = changes.filter((change) => {
    const isNews = change.offset > (latest.get(nameOf(change))?.offset ?? 0);
    if (isNews) latest.set(nameOf(change), { ...change, ...WITHOUT_HTML });
    return isNews;
  });
  return [latest, added];
}

/**
 * Return the timeline with the next older page added.
 *
 * Return null when the page cannot be added: the page has another epoch, is older than `asked`,
 * does not follow the loaded entries, or has an entry that changed meanwhile. A page may have
 * changes whose frame has not arrived yet. The page's entries count as changed at the timeline's
 * offset. So the frame still counts as new and updates the lists of pinned entries and key events.
 *
 * @param {Timeline} timeline @param {Page} page
 * @param {string} asked the timeline's position when the page was requested
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

/**
 * Return whether an entry belongs to the loaded part of the feed. Other entries appear only in the
 * lists of key events and pinned entries.
 *
 * @param {Timeline} _ @param {number} order the offset of the entry's first publication
 */
export const isLoaded = ({ lowest, below }, order) =>
  order >= (lowest ?? 0) && order < (below ?? Infinity);

/**
 * Compare two pinned entries by their order: by `pin_order`, those without one last, the newest
 * first among equals. Return a negative number when `a` comes first.
 *
 * @param {Pin} a @param {Pin} b
 */
export function comparePins(a, b) {
  // The difference of two infinities is NaN, which is false.
  return (a.pin_order ?? Infinity) - (b.pin_order ?? Infinity) || b.order - a.order;
}

/** @param {Timeline} timeline @returns {Header | undefined} */
export const headerOf = ({ latest }) => /** @type {Header | undefined} */ (latest.get('#blog'));

/**
 * Return whether a page that was fetched after a reset may replace the timeline. A page of the
 * reset's epoch must have reached the reset's offset. A page of another epoch must not have the
 * timeline's epoch, because that epoch is over.
 *
 * @param {string} page its position @param {string} reset the position in the reset
 * @param {string} held the timeline's position
 */
export function isAcceptable(page, reset, held) {
  const [got, wanted, mine] = [page, reset, held].map(parse);
  return got.epoch === wanted.epoch ? got.offset >= wanted.offset : got.epoch !== mine.epoch;
}
