// Keeps what the reader reads in place on the screen while something else on the page changes.
// Rules: the browser's own scroll anchoring is off (page.css), so that all browsers do the same.

/** The parts of an entry that are kept in place one by one: time, heading, paragraphs. */
const LINES = '.when, h3, .body > *';
const ABOVE = 'header > *, #key-events li, #pinned article';
/** The id of the column beside the feed. It is positioned, so its content moves nothing. */
const COLUMN = 'key-events';
/** Entries to keep in place; a change leaves at least one of them. */
const KEPT_MAX = 10;

/** @param {Element} node */
const topOf = (node) => node.getBoundingClientRect().top;

/** @param {Element} node @param {number} height */
const isAbove = (node, height) => node.getBoundingClientRect().bottom <= height;

/** Return the nodes that are not above a height. @param {Element[]} nodes from the top down @param {number} height */
function notAbove(nodes, height) {
  let [from, to] = [0, nodes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isAbove(nodes[middle], height)) from = middle + 1;
    else to = middle;
  }
  return nodes.slice(from);
}

/** Return the lines and nodes in sight, first the lines below the middle of the window. @param {Element[]} nodes */
function inSight(nodes) {
  const lines = nodes.flatMap((it) => (it.matches('article') ? [...it.querySelectorAll(LINES)] : it));
  return [...lines.filter((it) => !isAbove(it, innerHeight / 2)), ...nodes];
}

/** Browsers scroll by whole pixels; this is the fraction that the last scroll left out. */
let owed = 0;

/** @param {number} distance */
function scrollOn(distance) {
  const wanted = distance + owed;
  const before = scrollY;
  scrollBy({ top: wanted, behavior: 'instant' });
  const left = wanted - (scrollY - before);
  owed = Math.abs(left) < 1 ? left : 0; // a larger rest: the page cannot scroll further
}

/**
 * Change something, and scroll by the distance that the change moved what is read.
 *
 * @param {ParentNode} main @param {Element[]} entries of the feed, to be kept in place; none when new
 *   entries shall push the others down
 * @param {() => void} change
 */
export function steadily(main, entries, change) {
  const above = [...main.querySelectorAll(ABOVE)].filter(
    (/** @type {any} */ node) => !isAbove(node, 0) && node.offsetParent?.id !== COLUMN,
  );
  const kept = inSight([...above, ...notAbove(entries, 0).slice(0, KEPT_MAX)]);
  const tops = kept.map(topOf);
  change();
  const i = kept.findIndex((node) => node.isConnected);
  if (kept[i]) scrollOn(topOf(kept[i]) - tops[i]);
}
