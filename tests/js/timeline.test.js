// The timeline, tested with the cases of tests/vectors/timeline.json, which Python's timeline
// passes too, and with random histories of a blog.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import * as timelines from '../../static/js/timeline.js';

/** @import {Change, Frame, Put, Timeline} from '../../static/js/types.js' */

/** @type {any[]} */
const CASES = JSON.parse(
  readFileSync(new URL('../vectors/timeline.json', import.meta.url), 'utf-8'),
);
const HISTORIES = 300;
/** The pins of entries in random histories; equal numbers occur. */
const PINS = [{}, ...[null, 1, 1.5, -2].map((it) => ({ pinned: true, pin_order: it }))];

/** Apply changes to an empty timeline. @param {{position: string, changes: Change[]}} start */
function build({ position, changes }) {
  const [epoch] = position.split('.');
  const empty = timelines.create({ position: `${epoch}.0.00000000` });
  return timelines.apply(empty, { t: 'changes', from: 0, position, changes }).timeline;
}

/** @param {Timeline} timeline @returns {Put[]} the loaded entries, newest first */
const entries = (timeline) =>
  [...timeline.latest.values()]
    .flatMap((it) => (it.op === 'put' && timelines.isLoaded(timeline, it.order) ? it : []))
    .sort((a, b) => b.order - a.order);

/** @param {Timeline} timeline @returns {string[]} the ids of the pinned entries, in their order */
const pins = (timeline) =>
  entries(timeline)
    .filter((it) => it.pinned)
    .sort(timelines.comparePins)
    .map((it) => it.id);

for (const { name, start, steps, end } of CASES) {
  test(name, () => {
    let timeline = build(start);
    for (const step of steps) {
      if (!step.frame) continue; // this step calls changes(since), which only Python's timeline has
      const before = timeline;
      const applied = timelines.apply(timeline, step.frame);
      timeline = applied.timeline;
      assert.equal(applied.outcome, step.outcome);
      if (step.outcome !== 'applied') assert.equal(timeline, before);
    }
    const loaded = entries(timeline).map((it) => [it.id, it.offset, it.order]);
    assert.equal(timeline.position, end.position);
    assert.deepEqual(loaded, end.entries);
    assert.equal(timelines.headerOf(timeline)?.offset ?? null, end.blog);
    assert.deepEqual(pins(timeline), end.pinned ?? []);
  });
}

/**
 * @param {number} offset
 * @param {number} order
 * @param {{pinned?: boolean, pin_order?: number | null}} [pin]
 * @returns {Put}
 */
function put(offset, order, pin = {}) {
  const id = `e${String(order).padStart(12, '0')}`;
  return { op: 'put', id, offset, order, revision: 1, key: false, pinned: false, ...pin };
}

/** @param {number} offset */
const at = (offset) => `k3xq9a.${offset}.00000000`;

/** @param {number} from @param {number} to @param {Change[]} changes @returns {Frame} */
const frame = (from, to, changes) => ({ t: 'changes', from, position: at(to), changes });

test('applying a frame does not alter the earlier timeline', () => {
  const timeline = timelines.create({ position: at(3), changes: [put(2, 2), put(3, 3)] });
  timelines.apply(timeline, frame(3, 4, [put(4, 2)]));
  assert.equal(timeline.position, at(3));
  assert.equal(entries(timeline)[1].offset, 2);
});

test('fresh entries were published after the offset of the timeline, not after that of the frame', () => {
  const timeline = timelines.create({ position: at(3), changes: [put(3, 3)] });
  const { fresh } = timelines.apply(timeline, frame(1, 5, [put(3, 3), put(4, 2), put(5, 5)]));
  assert.deepEqual(fresh, [put(5, 5).id]);
});

test('an entry below the loaded ones changes key and pinned lists only', () => {
  const page = { position: at(9), changes: [put(8, 8), put(9, 9)], lowest: 8 };
  const applied = timelines.apply(timelines.create(page), frame(9, 10, [put(10, 5)]));
  assert.deepEqual(applied.changes, [put(10, 5)]);
  assert.deepEqual(applied.fresh, []);
  assert.deepEqual(entries(applied.timeline).map((it) => it.order), [9, 8]);
});

test('all orders are loaded when there are no older pages', () => {
  const page = { position: at(9), changes: [put(8, 8)], lowest: null };
  const { timeline } = timelines.apply(timelines.create(page), frame(9, 10, [put(10, 5)]));
  assert.deepEqual(entries(timeline).map((it) => it.order), [8, 5]);
});

test('an older page does not show newer entries, but counts new ones', () => {
  const page = { position: at(9), changes: [put(3, 3)], lowest: 3, below: 4 };
  const applied = timelines.apply(
    timelines.create(page),
    frame(9, 11, [put(10, 6), put(11, 11)]),
  );
  assert.deepEqual(entries(applied.timeline), [put(3, 3)]);
  assert.deepEqual(applied.fresh, [put(11, 11).id]);
});

test('after a reset a page is accepted when it has reached the position, or has a new epoch', () => {
  const [held, reset] = ['aaaa.50.00000000', 'bbbb.9.00000000'];
  assert.ok(timelines.isAcceptable('bbbb.9.00000000', reset, held));
  assert.ok(timelines.isAcceptable('bbbb.12.00000000', reset, held));
  assert.ok(timelines.isAcceptable('cccc.1.00000000', reset, held));
  assert.ok(!timelines.isAcceptable('bbbb.8.00000000', reset, held));
  assert.ok(!timelines.isAcceptable('aaaa.60.00000000', reset, held));
});

// -- random histories ---------------------------------------------------------------------

/**
 * Return a generator of random numbers in [0, 1) (mulberry32). The seed makes a failure repeatable.
 *
 * @param {number} seed @returns {() => number}
 */
function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Make a blog with random changes, and return its timelines at the offsets 0, 1, 2, …
 *
 * @param {() => number} random
 */
function history(random) {
  const pick = (/** @type {any[]} */ from) => from[Math.floor(random() * from.length)];
  const states = [timelines.create({ position: at(0) })];
  /** @type {number[]} */
  const orders = [];
  for (let offset = 1; offset <= 5 + random() * 40; offset += 1) {
    const order = random() < 0.5 || !orders.length ? offset : pick(orders);
    if (order === offset) orders.push(order);
    /** @type {Change} */
    let change = put(offset, order, pick(PINS));
    if (order < offset && random() < 0.4) change = { op: 'del', id: change.id, offset };
    if (random() < 0.1) change = { op: 'blog', offset, status: pick(['live', 'ended']) };
    if (change.op === 'blog' && order === offset) orders.pop();
    states.push(timelines.apply(states[offset - 1], frame(offset - 1, offset, [change])).timeline);
  }
  return states;
}

/**
 * Return the frame with the changes between two offsets of the history.
 *
 * @param {Timeline[]} states @param {number} from @param {number} to @returns {Frame}
 */
function missed(states, from, to) {
  const changed = [...states[to].latest.values()].filter(({ offset }) => offset > from);
  return frame(from, to, changed.sort((a, b) => a.offset - b.offset));
}

/** Return the page of this state: its `size` newest entries. @param {Timeline} state */
function page(state, size = 5) {
  const shown = entries(state);
  const header = timelines.headerOf(state);
  return timelines.create({
    position: state.position,
    changes: [...(header ? [header] : []), ...shown.slice(0, size)],
    lowest: shown.length > size ? shown[size - 1].order : null,
  });
}

/**
 * Return the timeline of a reader who joins anywhere, receives random frames, and then reconnects.
 *
 * @param {() => number} random @param {Timeline[]} states
 */
function read(random, states) {
  const top = states.length - 1;
  const upTo = (/** @type {number} */ n) => Math.floor(random() * (n + 1));
  let reader = page(states[upTo(top)]);
  for (let i = 0; i < 60; i += 1) {
    // The frame ends at a random offset. So frames arrive late, twice or out of order, or are lost.
    const to = upTo(top);
    reader = timelines.apply(reader, missed(states, upTo(to), to)).timeline;
  }
  const { offset } = timelines.parse(reader.position);
  return timelines.apply(reader, missed(states, offset, top)).timeline;
}

test('readers converge when they join anywhere and frames are repeated, dropped or reordered', () => {
  for (let seed = 1; seed <= HISTORIES; seed += 1) {
    const random = chance(seed);
    const states = history(random);
    const reader = read(random, states);
    const end = states[states.length - 1];
    const wanted = entries(end).filter((it) => timelines.isLoaded(reader, it.order));
    assert.equal(reader.position, end.position, `seed ${seed}`);
    assert.deepEqual(entries(reader), wanted, `seed ${seed}`);
    const loaded = pins(end).filter((id) => wanted.some((it) => it.id === id));
    assert.deepEqual(pins(reader), loaded, `seed ${seed}`);
    if (timelines.headerOf(end)) assert.deepEqual(timelines.headerOf(reader), timelines.headerOf(end));
  }
});
