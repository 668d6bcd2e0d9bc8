// The stream: when it connects, waits, changes its transport and stops connecting. docs/streams.md
// has the frames and close codes.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Stream } from '../../static/js/socket.js';
import * as timelines from '../../static/js/timeline.js';
import { FakeWorld } from './world.js';

/** @import {Change, Reader, State} from '../../static/js/types.js' */

const HELLO = { t: 'hello', position: 'aa.3.00000000', heartbeat_s: 20 };
const POSITION = 'aa.3.00000000';
const MINUTE_MS = 60_000;

/** @param {number} from @param {number} to @param {object[]} changes */
const frame = (from, to, changes = [], epoch = 'aa') => ({
  t: 'changes',
  from,
  position: `${epoch}.${to}.00000000`,
  changes,
});

/** @param {string} status @param {number} offset */
const header = (status, offset) => ({ op: 'blog', offset, status, html: '<header>' });

/**
 * Make a stream with a minimal reader: a timeline, and a record of what was shown.
 *
 * @param {string} [status] of the blog
 * @param {object} [lacks] members of the fake world to replace, such as an undefined WebSocket
 */
function setUp(status = 'live', lacks = {}) {
  const fake = new FakeWorld();
  /** @type {State[]} */
  const shown = [];
  /** @type {(string | null)[]} */
  const clocks = [];
  /** @type {(string | undefined)[]} */
  const versions = [];
  const blog = /** @type {Change} */ ({ op: 'blog', offset: 1, status });
  const page = { timeline: timelines.create({ position: POSITION, changes: [blog] }) };
  /** @type {Reader} */
  const reader = {
    position: () => page.timeline.position,
    hasEnded: () => timelines.headerOf(page.timeline)?.status === 'ended',
    receive(it) {
      const applied = timelines.apply(page.timeline, it);
      page.timeline = applied.timeline;
      return applied.outcome;
    },
    replace(position, reset) {
      if (!timelines.isAcceptable(position, reset, page.timeline.position)) return false;
      page.timeline = timelines.create({ position, changes: [blog] });
      return true;
    },
    correctClock: (now) => void clocks.push(now ?? null),
    compare: (version) => void versions.push(version),
    show: (state) => void shown.push(state),
  };
  const url = (/** @type {string} */ kind) => (/** @type {string} */ at) => `/${kind}/${at}`;
  const urls = {
    live: url('live'),
    events: url('events'),
    changes: url('changes'),
    page: (/** @type {string} */ at, /** @type {boolean} */ isGone) =>
      `/${isGone ? 'blog' : 'page'}/${at}`,
  };
  const stream = new Stream(reader, urls, { ...fake.world, ...lacks });
  const state = () => shown.at(-1)?.name;
  return { fake, stream, page, shown, clocks, versions, state };
}

/** Make a stream that has been live for a minute. */
function live() {
  const all = setUp();
  all.stream.start();
  all.fake.socket.send(HELLO);
  for (let i = 0; i < 4; i += 1) {
    all.fake.pass(MINUTE_MS / 4);
    all.fake.socket.send({ t: 'beat', position: POSITION, now: null });
  }
  return all;
}

/** Make a stream that polls, because neither WebSocket nor Server-Sent Events said hello. */
async function polling() {
  const all = setUp();
  all.stream.start();
  for (let i = 0; i < 2; i += 1) all.fake.socket.end(1006);
  await all.fake.request.answer(200, frame(3, 3));
  return all;
}

test('a stream opens a WebSocket from the position of the page', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  assert.equal(fake.socket.url, `/live/${POSITION}`);
  assert.equal(state(), undefined);
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
});

test('only applied changes move the position that a stream reconnects from', () => {
  const { fake, page } = live();
  fake.socket.send(frame(3, 5));
  fake.socket.send(frame(3, 4));
  fake.socket.send({ t: 'beat', position: 'aa.5.00000000', now: null });
  assert.equal(page.timeline.position, 'aa.5.00000000');
  fake.socket.end(1006);
  fake.pass(1_000);
  assert.equal(fake.socket.url, '/live/aa.5.00000000');
});

const PUT = { op: 'put', id: 'e00000000000a', offset: 4, order: 4, html: '<article>' };
const INVALID = {
  'text that is not JSON': 'not json',
  'JSON that is not an object': 'null',
  'a frame of unknown type': { t: 'news' },
  'a frame named like a member of every object': { t: 'toString' },
  'a hello without a heartbeat': { t: 'hello', position: POSITION },
  'changes that are not a list': { ...frame(3, 4), changes: {} },
  'a change of unknown kind': frame(3, 4, [{ ...PUT, op: 'move' }]),
  'an entry without html': frame(3, 4, [{ ...PUT, html: undefined }]),
  'an entry without an id': frame(3, 4, [{ ...PUT, id: '' }]),
  'an entry with an invalid id': frame(3, 4, [{ ...PUT, id: 'e"]' }]),
  'a change from the future': frame(3, 4, [{ ...PUT, offset: 5 }]),
  'an order from the future': frame(3, 4, [{ ...PUT, order: 5 }]),
  'a change that is null': frame(3, 4, [/** @type {any} */ (null)]),
  'a header without a status': frame(3, 4, [{ op: 'blog', offset: 4, html: '<header>' }]),
  'an invalid position': { ...frame(3, 4), position: 'x' },
  'a position with an invalid offset': { ...frame(3, 4), position: 'aa.4e9.00000000' },
  'a reset without a window': { t: 'reset', position: POSITION, after_ms: 5 },
  'a bye with half a window': { t: 'bye', after_ms: [0] },
};
for (const [name, it] of Object.entries(INVALID)) {
  test(`a stream rejects ${name}, warns once and asks for the changes again`, () => {
    const { fake, state } = live();
    fake.socket.send(it);
    assert.ok(fake.socket.isClosed);
    assert.equal(state(), 'lost');
    fake.pass(10_000);
    assert.equal(fake.opened.length, 2);
    assert.equal(fake.socket.url, `/live/${POSITION}`);
    fake.socket.send(HELLO);
    fake.socket.send(it); // rejected at the same position again, so the stream fetches the page
    fake.pass(10_000);
    assert.equal(fake.request.url, `/page/${POSITION}`);
    assert.equal(fake.warnings.length, 1);
  });
}

test('a stream warns and reconnects when the page rejects a frame', () => {
  const { fake, stream } = live();
  stream.reader.receive = () => 'rejected';
  fake.socket.send(frame(3, 4, [PUT]));
  assert.ok(fake.socket.isClosed);
  assert.equal(fake.warnings.length, 1);
});

test('a paused stream stays closed when the page wakes, and catches up when resumed', () => {
  const { fake, stream, state } = live();
  stream.pause(true);
  assert.equal(state(), 'paused');
  assert.ok(fake.socket.isClosed);
  for (const wake of [() => stream.wake(), () => stream.online(), () => stream.offline()]) wake();
  stream.sleep();
  stream.wake();
  fake.pass(MINUTE_MS);
  assert.equal(fake.opened.length, 1);
  stream.pause(false);
  assert.equal(fake.socket.url, `/live/${POSITION}`);
  assert.equal(fake.opened.length, 2);
});

const OUT_OF_STEP = {
  'a frame that leaves a gap': frame(4, 5),
  'a frame of another epoch': frame(3, 4, [], 'bb'),
  'a beat that is ahead': { t: 'beat', position: 'aa.4.00000000', now: null },
  'a beat of another epoch': { t: 'beat', position: 'bb.3.00000000', now: null },
};
for (const [name, it] of Object.entries(OUT_OF_STEP)) {
  test(`a stream reconnects from its own position after ${name}`, () => {
    const { fake } = live();
    fake.socket.send(it);
    assert.ok(fake.socket.isClosed);
    fake.pass(1_000);
    assert.equal(fake.opened.length, 2);
    assert.equal(fake.socket.url, `/live/${POSITION}`);
  });
}

test('a beat without a position keeps the stream alive and corrects the clock', () => {
  const { fake, clocks, state } = live();
  fake.socket.send({ t: 'beat', position: null, now: '2026-11-22T14:05:00.000Z' });
  assert.equal(state(), 'live');
  assert.equal(clocks.at(-1), '2026-11-22T14:05:00.000Z');
});

test('a connection is lost when nothing arrives for two heartbeats', () => {
  const { fake, state } = live();
  fake.pass(39_999);
  assert.equal(state(), 'live');
  fake.pass(1);
  assert.equal(state(), 'lost');
  assert.ok(fake.socket.isClosed);
});

test('a connection is closed when it says no hello within ten seconds', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  fake.pass(10_000);
  assert.ok(fake.opened[0].isClosed);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
  assert.equal(state(), undefined); // polling has not been tried yet, so no loss is shown
});

test('a stream reconnects within a second when a stable connection is cut', () => {
  for (const [chance, wait_ms] of [[0, 0], [0.5, 500], [1, 1_000]]) {
    const { fake, shown } = live();
    fake.chance = chance;
    fake.socket.end(1006);
    assert.equal(fake.wait_ms, wait_ms);
    assert.deepEqual(shown.at(-1), { name: 'lost', retry_at: fake.now_ms + wait_ms });
  }
});

test('a stream waits up to 10 s when a young connection is cut or a try fails', () => {
  const { fake, stream } = setUp();
  stream.start();
  fake.socket.send(HELLO);
  fake.pass(4_999);
  fake.chance = 1;
  fake.socket.end(1006);
  assert.equal(fake.wait_ms, 10_000);
  fake.pass(10_000);
  fake.chance = 0.25;
  fake.socket.end(1006);
  assert.equal(fake.wait_ms, 2_500);
});

for (const code of [1001, 1006, 1011, 1012, 1013, 4001, 4002, 4003, 4004, 4005, 4999]) {
  test(`a stream reconnects after code ${code}`, () => {
    const { fake } = live();
    fake.socket.end(code);
    fake.pass(1_000);
    assert.equal(fake.opened.length, 2);
  });
}

for (const code of [1002, 1003, 1007, 1008, 1009, 4006]) {
  test(`a stream reconnects at least 30 s after code ${code}, even when woken`, () => {
    const { fake, stream } = live();
    fake.chance = 0;
    fake.socket.end(code);
    fake.pass(29_999);
    stream.wake();
    assert.equal(fake.opened.length, 1);
    fake.pass(1);
    assert.equal(fake.opened.length, 2);
  });
}

for (const code of [4504]) {
  test(`a stream never reconnects after code ${code}, even when woken`, () => {
    const { fake, stream, shown } = live();
    fake.socket.end(code);
    assert.deepEqual(shown.at(-1), { name: 'lost', retry_at: null });
    stream.wake();
    stream.online();
    stream.offline();
    fake.pass(60 * MINUTE_MS);
    assert.equal(fake.opened.length, 1);
    assert.equal(fake.wait_ms, null);
  });
}

/** Refuse a WebSocket as a server does that does not know the page's origin. @param {any} fake */
function refuse(fake) {
  fake.socket.send({ t: 'bye', after_ms: null, why: 'origin' });
  fake.socket.end(4500);
}

test('a stream whose origin is refused tries events, then polls, and never gives up', async () => {
  const { fake, stream, state } = setUp();
  stream.start();
  refuse(fake);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
  fake.socket.end(0);
  await fake.request.answer(200, frame(3, 3));
  assert.equal(state(), 'live');
  assert.notEqual(fake.wait_ms, null);
});

test('a stream stays with events when its origin is refused, and reconnects by events', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  refuse(fake);
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
  fake.socket.end(0);
  fake.pass(10_000);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
});

test('a stream that worked changes its transport at once when its origin is refused', () => {
  const { fake } = live();
  fake.socket.end(1012);
  fake.pass(1_000);
  refuse(fake);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
});

test('a stream reconnects at a random time within the window of a bye, not before', () => {
  const { fake, stream } = live();
  fake.chance = 0.75;
  fake.socket.send({ t: 'bye', after_ms: [0, 20_000], why: 'busy' });
  assert.ok(!fake.socket.isClosed);
  fake.socket.end(4002);
  assert.equal(fake.wait_ms, 15_000);
  stream.wake();
  assert.equal(fake.opened.length, 1);
  fake.pass(15_000);
  assert.equal(fake.opened.length, 2);
});

test('a stream of an unknown blog comes back in the window of the bye, every time', () => {
  const { fake, stream } = setUp();
  stream.start();
  for (let tries = 0; tries < 9; tries += 1) {
    fake.socket.send({ t: 'bye', after_ms: [30_000, 60_000], why: 'unknown' });
    fake.socket.end(4006);
    assert.equal(fake.wait_ms, 45_000);
    stream.wake();
    fake.pass(45_000);
    assert.equal(fake.opened.length, tries + 2);
    assert.equal(fake.socket.url, `/live/${POSITION}`);
  }
});

test('a polling stream asks for an unknown blog again later', async () => {
  const { fake, state } = await polling();
  fake.pass(10_000);
  await fake.request.answer(404);
  assert.equal(state(), 'lost');
  fake.pass(45_000);
  await fake.request.answer(200, frame(3, 4));
  assert.equal(state(), 'live');
});

test('a stream never reconnects after a bye without a window', () => {
  const { fake } = live();
  fake.socket.send({ t: 'bye', after_ms: null, why: 'no such blog' });
  fake.socket.end(1006);
  assert.equal(fake.wait_ms, null);
});

// -- reset ----------------------------------------------------------------------------------------

test('a reset stream waits within the window, fetches the page and continues from there', async () => {
  const { fake, stream } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 3_000] });
  assert.ok(fake.socket.isClosed);
  stream.wake();
  assert.equal(fake.requests.length, 0);
  fake.pass(1_500);
  assert.equal(fake.request.url, '/page/bb.9.00000000');
  await fake.request.answer(200, 'bb.11.00000000');
  assert.equal(fake.socket.url, '/live/bb.11.00000000');
});

test('a reset stream fetches the page again when it is too old or does not load', async () => {
  const { fake, page } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  /** @type {[number, string][]} */
  const answers = [[200, 'bb.8.00000000'], [200, 'aa.80.00000000'], [503, ''], [0, '']];
  for (const [status, body] of answers) {
    const { length } = fake.requests;
    await fake.request.answer(status, body);
    fake.pass(4_999);
    assert.equal(fake.requests.length, length);
    fake.pass(1);
    assert.equal(fake.requests.length, length + 1);
  }
  await fake.request.answer(200, 'bb.9.00000000');
  assert.equal(page.timeline.position, 'bb.9.00000000');
});

test('a reset stream reconnects when the page never reaches the position', async () => {
  const { fake, state } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  for (let tries = 0; tries < 6; tries += 1) {
    assert.equal(fake.opened.length, 1);
    await fake.request.answer(200, 'aa.3.00000000'); // still the position before the reset
    fake.pass(5_000);
  }
  assert.equal(fake.socket.url, '/live/aa.3.00000000');
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
});

test('a reset stream fetches the page of the blog when its own page is gone', async () => {
  const { fake } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  await fake.request.answer(410);
  assert.equal(fake.request.url, '/blog/bb.9.00000000');
  await fake.request.answer(200, 'bb.9.00000000');
  assert.equal(fake.socket.url, '/live/bb.9.00000000');
});

test('a reset stream asks a stream later when the blog is gone, and its code decides', async () => {
  const { fake, state } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  await fake.request.answer(404);
  // Perhaps only an entry's page is gone, so the stream also requests the blog's page.
  assert.equal(fake.request.url, '/blog/bb.9.00000000');
  await fake.request.answer(404);
  assert.equal(state(), 'lost');
  assert.equal(fake.wait_ms, 45_000);
  fake.pass(45_000);
  fake.socket.end(4504);
  assert.equal(fake.wait_ms, null);
});

// -- ended ----------------------------------------------------------------------------------------

test('an ended stream polls every ten minutes, with jitter, and when the page is visible again', async () => {
  const { fake, stream, state } = live();
  fake.socket.send(frame(3, 4, [header('ended', 4)]));
  assert.equal(state(), 'live');
  fake.socket.end(4510);
  assert.equal(state(), 'ended');
  for (const [chance, wait_ms] of [[0, 540_000], [1, 660_000]]) {
    fake.chance = chance;
    stream.wake();
    assert.equal(fake.request.url, '/changes/aa.4.00000000');
    await fake.request.answer(200, frame(4, 4));
    assert.equal(fake.wait_ms, wait_ms);
  }
  fake.pass(660_000);
  assert.equal(fake.requests.length, 3);
  await fake.request.answer(503);
  assert.equal(fake.wait_ms, 660_000);
  assert.equal(fake.opened.length, 1);
  assert.equal(state(), 'ended');
});

test('a stream connects again when the blog is reopened', async () => {
  const { fake, stream } = setUp('ended');
  stream.start();
  assert.equal(fake.opened.length, 0);
  await fake.request.answer(200, frame(3, 5, [header('live', 5)]));
  assert.equal(fake.socket.url, '/live/aa.5.00000000');
});

test('an ended stream rests again after a reset', async () => {
  const { fake, stream, state } = setUp('ended');
  stream.start();
  await fake.request.answer(200, { t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  await fake.request.answer(200, 'bb.9.00000000');
  assert.equal(fake.request.url, '/changes/bb.9.00000000');
  assert.equal(state(), 'ended');
});

// -- leaving and returning --------------------------------------------------------------------------------

test('a waiting stream reconnects at once when the page is visible again', () => {
  const { fake, stream } = live();
  fake.socket.end(1006);
  stream.wake();
  assert.equal(fake.opened.length, 2);
  stream.wake();
  assert.equal(fake.opened.length, 2);
});

// -- looking at the page again ---------------------------------------------------------------------

const TRY_MS = 1_500;
const DOUBT_MS = 10_001; // over half a heartbeat

/** Make a live stream, and wake it after half a heartbeat of silence. */
function unlocked() {
  const all = live();
  all.fake.now_ms += DOUBT_MS; // no timer runs, as on a sleeping machine
  const old = all.fake.socket;
  all.stream.wake();
  return { ...all, old };
}

test('a stream that was silent for over half a heartbeat is replaced when looked at', () => {
  const { fake, old, shown, state } = unlocked();
  assert.equal(fake.opened.length, 2);
  assert.deepEqual([old.isClosed, shown.at(-1)], [false, { name: 'lost', retry_at: 0 }]);
  fake.socket.send(HELLO);
  assert.deepEqual([old.isClosed, state()], [true, 'live']);
});

test('a stream is kept when looked at within half a heartbeat of its last frame', () => {
  const { fake, stream, state } = live();
  fake.now_ms += DOUBT_MS - 1;
  stream.wake();
  assert.deepEqual([fake.opened.length, state()], [1, 'live']);
});

test('a stream is replaced when its machine slept, though a frame came late after the sleep', () => {
  const { fake, stream } = live();
  fake.now_ms += 60_000;
  fake.socket.send({ t: 'beat', position: POSITION, now: null });
  stream.wake(60_000);
  assert.equal(fake.opened.length, 2);
});

test('no change is lost or applied twice while two connections overlap', () => {
  const { fake, old, page } = unlocked();
  /** @type {string[]} */
  const applied = [];
  const put = (/** @type {number} */ offset) => ({ ...PUT, id: `e${offset}`, offset, order: offset });
  const send = (/** @type {any} */ to, /** @type {any} */ it) => {
    const before = page.timeline.latest.size;
    to.send(it);
    if (page.timeline.latest.size > before) applied.push(page.timeline.position);
  };
  const { socket } = fake;
  send(old, frame(3, 4, [put(4)]));
  send(socket, HELLO); // at the offset 3, from which the connection was opened
  send(old, frame(4, 5, [put(5)])); // too late
  send(socket, frame(3, 5, [put(4), put(5)]));
  send(socket, frame(3, 5, [put(4), put(5)]));
  send(socket, frame(5, 6, [put(6)]));
  assert.deepEqual(applied, [4, 5, 6].map((offset) => `aa.${offset}.00000000`));
  assert.deepEqual([...page.timeline.latest.keys()], ['#blog', 'e4', 'e5', 'e6']);
});

test('the end of a replaced connection changes nothing, whatever its last frame', () => {
  const LAST = [{ t: 'bye', after_ms: null }, { t: 'reset', position: 'bb.1.0', after_ms: [0, 0] }];
  for (const last of [...LAST, frame(9, 10), 'garbage']) {
    const { fake, old, state } = unlocked();
    old.send(last);
    /** @type {any} */ (old).end(4504);
    assert.deepEqual([fake.opened.length, fake.requests.length], [2, 0]);
    fake.socket.send(HELLO);
    assert.equal(state(), 'live');
  }
});

test('a replaced EventSource is closed at its first error, before it reconnects by itself', () => {
  const { fake, stream } = setUp();
  stream.start();
  fake.socket.end(1006);
  const old = fake.socket;
  old.send(HELLO);
  fake.now_ms += DOUBT_MS;
  stream.wake();
  assert.deepEqual([fake.opened.length, old.isClosed], [3, false]);
  old.end(0);
  assert.deepEqual([fake.opened.length, old.isClosed], [3, true]);
});

test('a try without hello is dropped after 1.5 s when looked at, six times, then a wait follows', () => {
  const { fake, old, state, shown } = unlocked();
  for (let tries = 1; tries <= 6; tries += 1) {
    assert.equal(fake.opened.length, tries + 1);
    assert.deepEqual([shown.at(-1)?.retry_at, old.isClosed], [0, false]);
    fake.pass(TRY_MS);
    assert.ok(fake.opened[tries].isClosed);
    fake.pass(0);
  }
  assert.equal(fake.opened.length, 7);
  assert.deepEqual([state(), fake.wait_ms], ['lost', 5_000]);
  assert.equal(shown.at(-1)?.retry_at, fake.now_ms + 5_000);
  fake.pass(5_000);
  fake.pass(9_999);
  assert.ok(!fake.socket.isClosed); // today's limit
  assert.equal(fake.socket.url, `/live/${POSITION}`); // short tries do not give up the transport
  fake.socket.send(HELLO);
  assert.ok(old.isClosed);
});

test('a refused try is repeated after 1.5 s when looked at', () => {
  const { fake } = unlocked();
  fake.pass(100);
  fake.socket.end(1006);
  fake.pass(TRY_MS - 1);
  assert.equal(fake.opened.length, 2);
  fake.pass(1);
  assert.equal(fake.opened.length, 3);
});

test('a try that hangs is dropped when looked at, a younger one 1.5 s later', () => {
  for (const [age_ms, opened] of [[TRY_MS + 1, 2], [TRY_MS, 1]]) {
    const { fake, stream } = setUp();
    stream.start();
    fake.socket.send(HELLO);
    fake.socket.end(1006);
    fake.pass(5_000);
    const [, hanging] = fake.opened;
    fake.now_ms += age_ms;
    stream.wake();
    assert.deepEqual([hanging.isClosed, fake.opened.length], [opened === 2, opened + 1]);
    fake.pass(TRY_MS);
    assert.ok(hanging.isClosed);
  }
});

test('a try lasts ten seconds again when the look was over ten seconds ago', () => {
  const { fake, stream } = live();
  stream.wake();
  fake.pass(10_000);
  fake.socket.end(1006);
  fake.pass(500);
  fake.pass(9_999);
  assert.deepEqual([fake.opened.length, fake.socket.isClosed], [2, false]);
});

test('a stream that is looked at while offline waits for the network', () => {
  const { fake, stream, state } = live();
  fake.isOnline = false;
  stream.offline();
  stream.wake();
  fake.socket.end(1006);
  assert.equal(state(), 'offline');
  fake.isOnline = true;
  stream.online();
  fake.pass(TRY_MS);
  fake.pass(0);
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
});

test('a refused replacement closes both connections and waits as the server asks', () => {
  const { fake, old, stream } = unlocked();
  fake.socket.send({ t: 'bye', after_ms: [8_000, 8_000], why: 'address' });
  fake.socket.end(4004);
  assert.ok(old.isClosed);
  stream.wake();
  fake.pass(7_999);
  assert.equal(fake.opened.length, 2);
  fake.pass(1);
  assert.equal(fake.opened.length, 3);
});

test('pausing and leaving close both connections', () => {
  for (const act of ['pause', 'sleep']) {
    const { fake, old, stream } = unlocked();
    /** @type {any} */ (stream)[act](true);
    assert.deepEqual([old.isClosed, fake.socket.isClosed, fake.wait_ms], [true, true, null]);
  }
});

test('a poll or a page that hangs is requested again when looked at', async () => {
  const { fake, stream, state } = await polling();
  fake.pass(10_000);
  assert.equal(fake.requests.length, 2);
  stream.wake();
  assert.equal(fake.requests.length, 3);
  await fake.request.answer(200, { t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  assert.equal(fake.request.url, '/page/bb.9.00000000');
  stream.wake();
  assert.equal(fake.requests.length, 5);
  await fake.request.answer(200, 'bb.9.00000000');
  assert.equal(fake.request.url, '/changes/bb.9.00000000');
  await fake.request.answer(200, frame(9, 9, [], 'bb'));
  assert.equal(state(), 'live');
});

test('a transport that never worked is changed at once when looked at', () => {
  const { fake, stream } = setUp();
  stream.start();
  stream.wake();
  fake.pass(TRY_MS);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
});

test('a hello corrects the clock and names the version of the server', () => {
  const { fake, stream, clocks, versions } = setUp();
  stream.start();
  fake.socket.send({ ...HELLO, now: '2026-11-22T14:05:00.000Z', version: '9f2c01ab' });
  assert.deepEqual([clocks, versions], [['2026-11-22T14:05:00.000Z'], ['9f2c01ab']]);
});

test('a stream closes everything when the reader leaves, and returns from its position', () => {
  const { fake, stream } = live();
  const { socket } = fake;
  stream.sleep();
  assert.ok(socket.isClosed);
  assert.equal(fake.wait_ms, null);
  socket.send(frame(3, 4));
  socket.end(1006);
  assert.equal(fake.wait_ms, null);
  stream.wake();
  assert.equal(fake.socket.url, `/live/${POSITION}`);
});

test('an offline stream shows its state, keeps trying and reconnects when online', () => {
  const { fake, stream, state } = live();
  fake.isOnline = false;
  stream.offline();
  assert.equal(state(), 'offline');
  fake.pass(1_000);
  fake.socket.end(1006);
  assert.equal(state(), 'offline');
  fake.isOnline = true;
  stream.online();
  assert.equal(fake.opened.length, 3);
});

// -- other transports -----------------------------------------------------------------------------

test('a stream uses Server-Sent Events at once when no WebSocket opens, and shows no loss', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  fake.socket.end(1006);
  assert.equal(state(), undefined);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
  fake.socket.send({ t: 'bye', after_ms: [0, 1_000], why: 'restart' });
  assert.ok(fake.socket.isClosed);
  fake.pass(1_000);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
});

test('a stream rests when an EventSource ends in an ended blog', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  fake.socket.end(1006);
  fake.socket.send(HELLO);
  fake.socket.send(frame(3, 4, [header('ended', 4)]));
  fake.socket.end(0);
  assert.equal(state(), 'ended');
  assert.ok(fake.socket.isClosed);
});

test('a WebSocket that has worked gets more tries than one that has not', () => {
  const { fake } = live();
  for (let i = 0; i < 6; i += 1) {
    fake.socket.end(1006);
    fake.pass(10_000);
    assert.match(fake.socket.url, /^\/live/);
  }
  fake.socket.end(1006);
  fake.pass(10_000);
  assert.match(fake.socket.url, /^\/events/);
});

test('a stream polls and shows "live" when nothing else works', async () => {
  const { fake, state, page } = await polling();
  assert.equal(state(), 'live');
  fake.pass(10_000);
  await fake.request.answer(200, frame(3, 6));
  assert.equal(page.timeline.position, 'aa.6.00000000');
  fake.pass(10_000);
  assert.equal(fake.request.url, '/changes/aa.6.00000000');
});

test('a stream is lost when a poll fails or its answer is invalid', async () => {
  for (const answer of [{ status: 503, body: '' }, { status: 200, body: '<html>' }]) {
    const { fake, state } = await polling();
    fake.pass(10_000);
    await fake.request.answer(answer.status, answer.body);
    assert.equal(state(), 'lost');
  }
});

test('a polling stream tries the better transports again, and shows no loss', async () => {
  const { fake, shown } = await polling();
  const { length } = shown;
  for (let i = 0; i < 11; i += 1) {
    fake.pass(10_000);
    await fake.request.answer(200, frame(3, 3));
  }
  fake.pass(10_000);
  assert.match(fake.socket.url, /^\/live/);
  fake.socket.end(1006);
  assert.match(fake.socket.url, /^\/events/);
  fake.socket.end(1006);
  assert.equal(fake.requests.length, 13);
  await fake.request.answer(200, frame(3, 3));
  assert.ok(shown.slice(length).every(({ name }) => name === 'live'));
});

test('an answer changes nothing when the reader has left', async () => {
  const { fake, stream, page } = await polling();
  fake.pass(10_000);
  stream.sleep();
  await fake.request.answer(200, frame(3, 6));
  assert.equal(page.timeline.position, POSITION);
  assert.equal(fake.wait_ms, null);
});

test('a transport that a policy of the browser forbids counts as a failed try', () => {
  const { fake, stream, state, shown } = setUp('live', { WebSocket: undefined });
  stream.start();
  assert.equal(fake.socket.url, `/events/${POSITION}`);
  assert.deepEqual([shown.length, state()], [0, undefined]);
});

test('a stream shows a loss and waits when all transports fail', async () => {
  const { fake, stream, state } = setUp();
  stream.start();
  for (let i = 0; i < 2; i += 1) fake.socket.end(1006);
  await fake.request.answer(0);
  assert.equal(state(), 'lost');
  assert.equal(fake.opened.length, 2);
  fake.pass(10_000);
  assert.equal(fake.socket.url, `/live/${POSITION}`);
});

test('a stream keeps its transport when the server rejects it', () => {
  const { fake, stream } = setUp();
  stream.start();
  fake.socket.send({ t: 'bye', after_ms: [0, 20_000], why: 'full' });
  fake.socket.end(4002);
  fake.pass(10_000);
  assert.equal(fake.opened.length, 2);
  assert.equal(fake.socket.url, `/live/${POSITION}`);
});

test('a wait that the server asked for does not end early when the network changes', () => {
  for (const [code, wait_ms] of [[1008, 45_000], [4001, 20_000]]) {
    const { fake, stream, state } = live();
    if (code === 4001) fake.socket.send({ t: 'bye', after_ms: [20_000, 20_000] });
    fake.socket.end(code);
    stream.offline();
    assert.equal(state(), 'offline');
    stream.online();
    assert.equal(state(), 'lost');
    fake.pass(wait_ms - 1);
    assert.equal(fake.opened.length, 1);
    fake.pass(1);
    assert.equal(fake.opened.length, 2);
  }
});
