// New entries that the reader has not seen: how many, and from which order on.
// Rules: pure. No function alters an Arrivals; each returns a new one.

/** @import {Arrivals} from './types.js' */

/** @type {Arrivals} */
export const NO_ARRIVALS = { missing: new Map(), from: 0, unannounced: new Set() };

/** Count a new entry that the feed holds. @param {Arrivals} arrivals @param {string} id @returns {Arrivals} */
export const arrive = (arrivals, id) => ({
  ...arrivals,
  unannounced: new Set([...arrivals.unannounced, id]),
});

/**
 * Count a new entry that the feed lacks, because this page shows older entries.
 *
 * @param {Arrivals} arrivals @param {string} id @param {number} order @returns {Arrivals}
 */
export const miss = (arrivals, id, order) => ({
  ...arrive(arrivals, id),
  missing: new Map([...arrivals.missing, [id, order]]),
});

/** Drop a deleted entry. @param {Arrivals} arrivals @param {string} id @returns {Arrivals} */
export const forget = ({ missing, from, unannounced }, id) => ({
  missing: new Map([...missing].filter(([it]) => it !== id)),
  from,
  unannounced: new Set([...unannounced].filter((it) => it !== id)),
});

/**
 * Start over after a reset: the missing entries are unknown, only their lowest order is known.
 *
 * @param {Arrivals} arrivals @param {number} from 0: this page shows the newest, so none is missing
 * @returns {Arrivals}
 */
export const startOver = (arrivals, from) => ({
  missing: new Map(),
  from: from && Math.min(from, arrivals.from || from, ...arrivals.missing.values()),
  unannounced: arrivals.unannounced,
});

/** Drop the announced entries from the count. @param {Arrivals} arrivals @returns {Arrivals} */
export const announced = (arrivals) => ({ ...arrivals, unannounced: new Set() });

/** Return the lowest order that is missing on this page, Infinity for none. @param {Arrivals} _ */
export const firstMissing = ({ missing, from }) => from || Math.min(...missing.values());

/** @param {number} count */
export const updates = (count) => `${count} new update${count === 1 ? '' : 's'}`;

/**
 * Return the text of the button for new entries and the count in the title, both empty for none.
 *
 * @param {Arrivals} arrivals @param {number} waiting entries that wait in the feed
 */
export function summary({ missing, from }, waiting) {
  if (from) return { text: 'New updates', count: '' }; // how many is unknown
  const count = waiting + missing.size;
  return count ? { text: updates(count), count: `(${count}) ` } : { text: '', count: '' };
}
