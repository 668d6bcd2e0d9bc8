// Counts the new entries that the reader has not seen. A page that shows only older entries lacks
// the new ones; `firstMissing` then finds the oldest of the entries that the page lacks.
// Rules: pure. No function alters an Arrivals object; each returns a new object.

/** @import {Arrivals} from './types.js' */

/** @type {Arrivals} */
export const NO_ARRIVALS = { missing: new Map(), from: 0, unannounced: new Set() };

/**
 * Add a new entry to the next announcement to screen readers.
 *
 * @param {Arrivals} arrivals @param {string} id @returns {Arrivals}
 */
export const arrive = (arrivals, id) => ({
  ...arrivals,
  unannounced: new Set([...arrivals.unannounced, id]),
});

/**
 * Count a new entry that is not in the feed, because this page shows only older entries.
 *
 * @param {Arrivals} arrivals @param {string} id
 * @param {number} order the offset of the entry's first publication
 * @returns {Arrivals}
 */
export const miss = (arrivals, id, order) => ({
  ...arrive(arrivals, id),
  missing: new Map([...arrivals.missing, [id, order]]),
});

/**
 * Remove a deleted entry from the counts.
 *
 * @param {Arrivals} arrivals @param {string} id @returns {Arrivals}
 */
export const forget = ({ missing, from, unannounced }, id) => ({
  missing: new Map([...missing].filter(([it]) => it !== id)),
  from,
  unannounced: new Set([...unannounced].filter((it) => it !== id)),
});

/**
 * Replace the list of missing entries by `from`, because after a reset this page does not know
 * which entries were published meanwhile. Every entry first published at the offset `from` or later
 * may be missing.
 *
 * @param {Arrivals} arrivals @param {number} from 0: this page shows the newest entries, so that
 *   none is missing
 * @returns {Arrivals}
 */
export const startOver = (arrivals, from) => ({
  missing: new Map(),
  from: from && Math.min(from, arrivals.from || from, ...arrivals.missing.values()),
  unannounced: arrivals.unannounced,
});

/** Empty the list of entries to announce. @param {Arrivals} arrivals @returns {Arrivals} */
export const announced = (arrivals) => ({ ...arrivals, unannounced: new Set() });

/**
 * Return the `order` (offset of first publication) of the oldest new entry that this page may lack;
 * Infinity when the page lacks none.
 *
 * @param {Arrivals} _
 */
export const firstMissing = ({ missing, from }) => from || Math.min(...missing.values());

/** @param {number} count */
export const updates = (count) => `${count} new update${count === 1 ? '' : 's'}`;

/**
 * Return the text of the button for new entries, and the count for the page's title. Both are empty
 * when there are no new entries.
 *
 * @param {Arrivals} arrivals @param {number} waiting number of hidden new entries in the feed
 */
export function summary({ missing, from }, waiting) {
  if (from) return { text: 'New updates', count: '' }; // the number is unknown
  const count = waiting + missing.size;
  return count ? { text: updates(count), count: `(${count}) ` } : { text: '', count: '' };
}
