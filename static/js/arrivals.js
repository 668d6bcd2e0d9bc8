// Counts the new entries that the reader has not seen. A page that shows only older entries lacks
// the new ones. summary.js says how many they are.
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
