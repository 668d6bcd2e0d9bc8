// Keeps the text being read in place on the screen while the page changes around the text.
// Rules: the browser's own scroll anchoring is off (page.css), so that all browsers do the same.

/** This module calls an entry's time, heading and each paragraph of the text "lines". */
const LINES = '.when, h3, .body > *';
const ABOVE = 'header > *, #key-events li, #pinned article';
/** The id of the column beside the feed. A change in the column does not move the feed. */
const COLUMN = 'key-events';
/**
 * The number of entries that are measured before a change. One entry is not enough, because the
 * change may remove that entry.
 */
const KEPT_MAX = 10;

/** @param {Element} node */
const topOf = (node) => node.getBoundingClientRect().top;

/** @param {Element} node @param {number} height */
const isAbove = (node, height) => node.getBoundingClientRect().bottom <= height;

/**
 * Return the nodes whose lower edge is below a height, measured from the window's top.
 *
 * @param {Element[]} nodes from the top down @param {number} height
 */
function notAbove(nodes, height) {
  let [from, to] = [0, nodes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isAbove(nodes[middle], height)) from = middle + 1;
    else to = middle;
  }
  return nodes.slice(from);
}

/**
 * Return the elements to keep in place, the preferred ones first: the lines (see LINES) that end
 * below the middle of the window, then all nodes.
 *
 * @param {Element[]} nodes
 */
function inSight(nodes) {
  const lines = nodes.flatMap((it) => (it.matches('article') ? [...it.querySelectorAll(LINES)] : it));
  return [...lines.filter((it) => !isAbove(it, innerHeight / 2)), ...nodes];
}

/**
 * The fraction of a pixel by which the last scroll fell short. Browsers scroll by whole pixels, so
 * the next scroll adds the fraction.
 */
let owed = 0;

/** @param {number} distance */
function scrollOn(distance) {
  const wanted = distance + owed;
  const before = scrollY;
  scrollBy({ top: wanted, behavior: 'instant' });
  const left = wanted - (scrollY - before);
  // Only at the page's end does a scroll fall short by a pixel or more. Then nothing is owed.
  owed = Math.abs(left) < 1 ? left : 0;
}

/**
 * Run `change`, then scroll by the distance by which the change moved the text being read.
 *
 * @param {ParentNode} main @param {Element[]} entries of the feed that are kept in place; none when
 *   new entries may push the other entries down
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
