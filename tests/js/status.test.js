// The words of the status line. tests/browser checks how the page shows them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { words } from '../../static/js/status.js';

/** @import {State} from '../../static/js/types.js' */

const NOW = 1_000_000;

/** @type {[State['name'], number | null, string, string][]} state, next try, blog's status, text */
const READINGS = [
  ['live', null, 'live', 'Live'],
  ['live', null, 'upcoming', 'Waiting for coverage to begin'],
  ['live', null, 'ended', 'Coverage has ended'],
  ['lost', NOW + 7_001, 'live', 'Connection lost, retrying in 8 s'],
  ['lost', NOW, 'live', 'Connection lost, retrying'],
  ['lost', 0, 'live', 'Connecting'],
  ['lost', null, 'live', 'No live updates, reload the page'],
  ['lost', NOW + 7_001, 'ended', 'Coverage has ended'],
  ['offline', NOW + 7_001, 'live', 'You are offline'],
];

for (const [name, retry_at, status, text] of READINGS) {
  test(`the status line reads "${text}" when the stream is ${name} and the blog ${status}, next try at ${retry_at}`, () => {
    assert.equal(words({ name, retry_at }, status, NOW).join(''), text);
  });
}

test('the countdown is visible and not announced', () => {
  const [announced] = words({ name: 'lost', retry_at: NOW + 5_000 }, 'live', NOW);
  assert.equal(announced, 'Connection lost');
});
