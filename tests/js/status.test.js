// How the state of the stream reads; the rest of the view is shown in a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { words } from '../../static/js/status.js';

/** @import {State} from '../../static/js/types.js' */

const NOW = 1_000_000;

/** @type {[State['name'], number | null, string, string][]} */
const READINGS = [
  ['live', null, 'live', 'Live'],
  ['live', null, 'upcoming', 'Waiting for coverage to begin'],
  ['live', null, 'ended', 'Coverage has ended'],
  ['lost', NOW + 7_001, 'live', 'Connection lost, retrying in 8 s'],
  ['lost', NOW, 'live', 'Connection lost, retrying'],
  ['lost', null, 'live', 'No live updates, reload the page'],
  ['lost', NOW + 7_001, 'ended', 'Coverage has ended'],
  ['offline', NOW + 7_001, 'live', 'You are offline'],
];

for (const [name, retry_at, status, text] of READINGS) {
  test(`"${name}" in a blog that is ${status}, next try at ${retry_at}: ${text}`, () => {
    assert.equal(words({ name, retry_at }, status, NOW).join(''), text);
  });
}

test('the countdown is seen, not announced', () => {
  const [announced] = words({ name: 'lost', retry_at: NOW + 5_000 }, 'live', NOW);
  assert.equal(announced, 'Connection lost');
});
