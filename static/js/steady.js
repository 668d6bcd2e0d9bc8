// What is read stays where it is on the screen while something else on the page changes.

/** What an entry is kept by: blocks that are read as one. */
const LINES = '.when, h3, .body > *';
const ABOVE = 'header > *, #key-events li, #pinned article';
/** A column beside what is read, and then positioned; what is in it stays by itself. */
const COLUMN = 'key-events';
/** Enough that one of them survives any change. */
const KEPT_MAX = 10;

/** @param {Element} node */
const topOf = (node) => node.getBoundingClientRect().top;

/** @param {Element} node @param {number} height */
const isAbove = (node, height) => node.getBoundingClientRect().bottom <= height;

/** @param {Element[]} nodes one below the other @param {number} height @returns those not above it */
function notAbove(nodes, height) {
  let [from, to] = [0, nodes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isAbove(nodes[middle], height)) from = middle + 1;
    else to = middle;
  }
  return nodes.slice(from);
}

/** What is in sight, the lines from the middle of the window down first. @param {Element[]} nodes */
function inSight(nodes) {
  const lines = nodes.flatMap((it) => (it.matches('article') ? [...it.querySelectorAll(LINES)] : it));
  return [...lines.filter((it) => !isAbove(it, innerHeight / 2)), ...nodes];
}

/** Windows are scrolled by whole pixels: what was left over the last time. */
let owed = 0;

/** @param {number} distance */
function scrollOn(distance) {
  const wanted = distance + owed;
  const before = scrollY;
  scrollBy({ top: wanted, behavior: 'instant' });
  const left = wanted - (scrollY - before);
  owed = Math.abs(left) < 1 ? left : 0; // more than that: it cannot be scrolled so far
}

/**
 * Change something, and scroll by what that moved.
 *
 * @param {ParentNode} main @param {Element[]} entries what is read of the feed; none where new ones
 *   are to push the rest down
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
