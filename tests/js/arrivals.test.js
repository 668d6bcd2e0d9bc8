// The count of new entries that the reader has not seen.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { arrive, forget, miss, NO_ARRIVALS, startOver } from '../../static/js/arrivals.js';
import { announced, firstMissing, summary } from '../../static/js/summary.js';

const NOTHING = { text: '', count: '' };

test('without new entries there is no text and no count', () => {
  assert.deepEqual(summary(NO_ARRIVALS, 0), NOTHING);
  assert.equal(firstMissing(NO_ARRIVALS), Infinity);
});

test('waiting and missing entries count together', () => {
  const arrivals = miss(arrive(NO_ARRIVALS, 'a'), 'b', 7);
  assert.deepEqual(summary(arrivals, 1), { text: '2 new updates', count: '(2) ' });
  assert.deepEqual(summary(NO_ARRIVALS, 1), { text: '1 new update', count: '(1) ' });
});

test('the first missing entry is the one with the lowest order', () => {
  assert.equal(firstMissing(miss(miss(NO_ARRIVALS, 'a', 9), 'b', 7)), 7);
});

test('a deleted entry is neither counted nor announced', () => {
  const arrivals = forget(miss(NO_ARRIVALS, 'a', 7), 'a');
  assert.deepEqual(summary(arrivals, 0), NOTHING);
  assert.equal(arrivals.unannounced.size, 0);
});

test('after a reset the missing entries have no number, and the lowest order stays', () => {
  const once = startOver(miss(NO_ARRIVALS, 'a', 7), 9);
  assert.deepEqual(summary(once, 3), { text: 'New updates', count: '' });
  assert.equal(firstMissing(once), 7);
  assert.equal(firstMissing(startOver(once, 12)), 7);
  assert.deepEqual(summary(startOver(once, 0), 0), NOTHING);
});

test('an announcement leaves the count as it was', () => {
  const arrivals = announced(miss(NO_ARRIVALS, 'a', 7));
  assert.equal(arrivals.unannounced.size, 0);
  assert.equal(summary(arrivals, 0).text, '1 new update');
});

test('no function alters the arrivals that it is given', () => {
  const arrivals = miss(NO_ARRIVALS, 'a', 7);
  for (const act of [announced, forget, miss, startOver]) {
    /** @type {any} */ (act)(arrivals, 'a', 8);
  }
  assert.deepEqual([...arrivals.missing, ...arrivals.unannounced], [['a', 7], 'a']);
  assert.equal(NO_ARRIVALS.missing.size, 0);
});
