// A new release of the server: when the open page is loaded again.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Release } from '../../static/js/release.js';

const PAUSE_MS = 300_000;

/** A tab's storage; `isForbidden` as in a browser whose settings forbid storage. */
class Storage {
  isForbidden = false;
  /** @type {Map<string, string>} */
  #values = new Map();

  /** @param {string} name */
  getItem(name) {
    return this.#values.get(name) ?? null;
  }

  /** @param {string} name @param {string} value */
  setItem(name, value) {
    if (!this.isForbidden) this.#values.set(name, value);
  }
}

/** Make a tab: it opens pages, and remembers what it stored and how often a page was loaded. */
function makeTab() {
  const sessionStorage = new Storage();
  /** @type {any} */ (globalThis).window = { sessionStorage };
  const tab = { now_ms: 1_000_000_000, isQuiet: true, served: 'new', fetches: 0, loads: 0, sessionStorage };
  const world = {
    Date: { now: () => tab.now_ms },
    Math: { random: () => 0.5 },
    location: { reload: () => void (tab.loads += 1) },
  };
  const fetched = async () => {
    tab.fetches += 1;
    return tab.served;
  };
  const open = (/** @type {string[]} */ ...own) => new Release(own, () => tab.isQuiet, fetched, world);
  return { tab, open };
}

/** @param {{now_ms: number}} tab @param {Release} release */
async function pass(tab, release, seconds = 10) {
  for (let i = 0; i < seconds; i += 1) {
    tab.now_ms += 1_000;
    await release.tick();
  }
}

test('a page is loaded again when a fetched page has the version of the stream', async () => {
  const { tab, open } = makeTab();
  const release = open('old', 'old');
  release.compare('new');
  await pass(tab, release, 4);
  assert.equal(tab.fetches, 0); // the readers of one server attempt at different times
  await pass(tab, release, 1);
  assert.deepEqual([tab.fetches, tab.loads], [1, 1]);
});

test('a page is loaded again when only its script, or only its markup, is of another release', async () => {
  for (const own of [['new', 'old'], ['old', 'new']]) {
    const { tab, open } = makeTab();
    const release = open(...own);
    release.compare('new');
    await pass(tab, release);
    assert.equal(tab.loads, 1);
  }
});

test('a page stays when the server has its version, or names none', async () => {
  for (const version of ['old', undefined, '']) {
    const { tab, open } = makeTab();
    const release = open('old', 'old');
    release.compare('new');
    release.compare(version);
    await pass(tab, release);
    assert.equal(tab.fetches, 0);
  }
});

test('a page waits for a quiet moment, also after its request', async () => {
  const { tab, open } = makeTab();
  const release = open('old', 'old');
  release.compare('new');
  tab.isQuiet = false;
  await pass(tab, release, 1_000);
  assert.equal(tab.fetches, 0);
  tab.isQuiet = true;
  tab.now_ms += 1_000;
  const attempt = release.tick();
  tab.isQuiet = false;
  await attempt;
  assert.deepEqual([tab.fetches, tab.loads], [1, 0]);
});

test('a page stays while another server behind the balancer answers, and asks every 5 minutes', async () => {
  const { tab, open } = makeTab();
  tab.served = 'old';
  const release = open('old', 'old');
  release.compare('new');
  await pass(tab, release, 3_600);
  assert.deepEqual([tab.fetches, tab.loads], [12, 0]);
});

test('a page stays when the server changes again during its request', async () => {
  const { tab, open } = makeTab();
  const release = open('old', 'old');
  release.compare('new');
  tab.now_ms += 10_000;
  const attempt = release.tick();
  release.compare('newer');
  await attempt;
  assert.deepEqual([tab.fetches, tab.loads], [1, 0]);
});

test('pages of two releases behind one balancer are loaded at most once in 5 minutes', async () => {
  const { tab, open } = makeTab();
  for (let minutes = 0; minutes < 60; minutes += 1) {
    // Each load gives the page of one release, and each stream the other.
    const release = open('old', 'old');
    release.compare('new');
    await pass(tab, release, 60);
  }
  assert.equal(tab.loads, 12);
});

test('a page stays when the browser forbids storage, since a loop could follow', async () => {
  const { tab, open } = makeTab();
  tab.sessionStorage.isForbidden = true;
  const release = open('old', 'old');
  release.compare('new');
  await pass(tab, release);
  assert.equal(tab.fetches, 0);
});

test('a page is loaded again when the clock was set back since the last attempt', async () => {
  const { tab, open } = makeTab();
  const release = open('old', 'old');
  release.compare('new');
  await pass(tab, release);
  tab.now_ms -= 2 * PAUSE_MS;
  release.compare('new');
  await pass(tab, release);
  assert.equal(tab.loads, 2);
});
