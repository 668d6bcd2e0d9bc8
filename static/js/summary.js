// Says how many new entries the reader has not seen, and which of them is the oldest. The desk, where
// no new entry waits, does not load this.
// Rules: pure.

/** @import {Arrivals} from './types.js' */

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
