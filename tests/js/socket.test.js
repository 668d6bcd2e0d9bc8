// The stream: when it connects, waits, changes transport and rests. Frames and codes as in the
// contract with readers.

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
 * @param {string} [status] of the blog @param {object} [lacks] members of the world to replace
 */
function setUp(status = 'live', lacks = {}) {
  const fake = new FakeWorld();
  /** @type {State[]} */
  const shown = [];
  /** @type {(string | null)[]} */
  const clocks = [];
  const blog = /** @type {Change} */ ({ op: 'blog', offset: 1, status });
  const page = { timeline: timelines.create({ position: POSITION, changes: [blog] }) };
  /** @type {Reader} */
  const reader = {
    position: () => page.timeline.position,
    hasEnded: () => timelines.headerOf(page.timeline)?.status === 'ended',
    take(it) {
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
  return { fake, stream, page, shown, clocks, state };
}

/** The same, with a stream that has been live for a minute. */
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

/** The same, polling, because neither of the better transports ever said hello. */
async function polling() {
  const all = setUp();
  all.stream.start();
  for (let i = 0; i < 2; i += 1) all.fake.socket.end(1006);
  await all.fake.request.answer(200, frame(3, 3));
  return all;
}

test('it opens a WebSocket from the position of the page', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  assert.equal(fake.socket.url, `/live/${POSITION}`);
  assert.equal(state(), undefined);
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
});

test('only applied changes move the position that it comes back with', () => {
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
const NONSENSE = {
  'no JSON': 'not json',
  'JSON that is no object': 'null',
  'a frame of unknown type': { t: 'news' },
  'a frame named like what every object has': { t: 'toString' },
  'a hello without a heartbeat': { t: 'hello', position: POSITION },
  'changes that are no list': { ...frame(3, 4), changes: {} },
  'a change of unknown kind': frame(3, 4, [{ ...PUT, op: 'move' }]),
  'an entry without html': frame(3, 4, [{ ...PUT, html: undefined }]),
  'an entry without an id': frame(3, 4, [{ ...PUT, id: '' }]),
  'an entry with an id that is none': frame(3, 4, [{ ...PUT, id: 'e"]' }]),
  'a change from the future': frame(3, 4, [{ ...PUT, offset: 5 }]),
  'an order from the future': frame(3, 4, [{ ...PUT, order: 5 }]),
  'a change that is null': frame(3, 4, [/** @type {any} */ (null)]),
  'a header without a status': frame(3, 4, [{ op: 'blog', offset: 4, html: '<header>' }]),
  'a position that is garbage': { ...frame(3, 4), position: 'x' },
  'a position with an offset that is none': { ...frame(3, 4), position: 'aa.4e9.00000000' },
  'a reset without a window': { t: 'reset', position: POSITION, after_ms: 5 },
  'a farewell with half a window': { t: 'bye', after_ms: [0] },
};
for (const [name, it] of Object.entries(NONSENSE)) {
  test(`${name} is not applied, is warned of once, and what was missed is asked for`, () => {
    const { fake, state } = live();
    fake.socket.send(it);
    assert.ok(fake.socket.isClosed);
    assert.equal(state(), 'lost');
    fake.pass(10_000);
    assert.equal(fake.opened.length, 2);
    assert.equal(fake.socket.url, `/live/${POSITION}`);
    fake.socket.send(HELLO);
    fake.socket.send(it); // it is what the server has: then the page is asked for
    fake.pass(10_000);
    assert.equal(fake.request.url, `/page/${POSITION}`);
    assert.equal(fake.warnings.length, 1);
  });
}

test('what the page refuses to show is warned of, and asked for again', () => {
  const { fake, stream } = live();
  stream.reader.take = () => 'refused';
  fake.socket.send(frame(3, 4, [PUT]));
  assert.ok(fake.socket.isClosed);
  assert.equal(fake.warnings.length, 1);
});

test('a reader who pauses has no stream, whatever wakes the page, and then catches up', () => {
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
  test(`after ${name} it reconnects from its own position`, () => {
    const { fake } = live();
    fake.socket.send(it);
    assert.ok(fake.socket.isClosed);
    fake.pass(1_000);
    assert.equal(fake.opened.length, 2);
    assert.equal(fake.socket.url, `/live/${POSITION}`);
  });
}

test('a beat without a position is proof of life only, and its time corrects the clock', () => {
  const { fake, clocks, state } = live();
  fake.socket.send({ t: 'beat', position: null, now: '2026-11-22T14:05:00.000Z' });
  assert.equal(state(), 'live');
  assert.equal(clocks.at(-1), '2026-11-22T14:05:00.000Z');
});

test('no sign of life for twice the heartbeat means dead', () => {
  const { fake, state } = live();
  fake.pass(39_999);
  assert.equal(state(), 'live');
  fake.pass(1);
  assert.equal(state(), 'lost');
  assert.ok(fake.socket.isClosed);
});

test('a connection that never says hello is given up after ten seconds', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  fake.pass(10_000);
  assert.ok(fake.opened[0].isClosed);
  assert.equal(fake.socket.url, `/events/${POSITION}`);
  assert.equal(state(), undefined); // nobody is told before all three were tried
});

test('after a cut of a stable stream the first try comes within a second', () => {
  for (const [chance, wait_ms] of [[0, 0], [0.5, 500], [1, 1_000]]) {
    const { fake, shown } = live();
    fake.chance = chance;
    fake.socket.end(1006);
    assert.equal(fake.wait_ms, wait_ms);
    assert.deepEqual(shown.at(-1), { name: 'lost', retry_at: fake.now_ms + wait_ms });
  }
});

test('after a cut of a young stream, and after each try in vain, it waits up to 10 s', () => {
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
  test(`code ${code} means come back`, () => {
    const { fake } = live();
    fake.socket.end(code);
    fake.pass(1_000);
    assert.equal(fake.opened.length, 2);
  });
}

for (const code of [1002, 1003, 1007, 1008, 1009]) {
  test(`code ${code} means come back after at least 30 s, whatever wakes it`, () => {
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

for (const code of [4500, 4504]) {
  test(`code ${code} means stay away, whatever wakes it`, () => {
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

test('after a bye it comes back at a random moment of the window, and not before', () => {
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

test('after a bye without a window it stays away', () => {
  const { fake } = live();
  fake.socket.send({ t: 'bye', after_ms: null, why: 'no such blog' });
  fake.socket.end(1006);
  assert.equal(fake.wait_ms, null);
});

// -- reset ----------------------------------------------------------------------------------------

test('on reset it waits in the window, fetches the page and goes on from it', async () => {
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

test('on reset it fetches again while the page is too old or cannot be had', async () => {
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

test('on reset it asks its stream anew when the page never comes to what was said', async () => {
  const { fake, state } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  for (let tries = 0; tries < 6; tries += 1) {
    assert.equal(fake.opened.length, 1);
    await fake.request.answer(200, 'aa.3.00000000'); // what is held
    fake.pass(5_000);
  }
  assert.equal(fake.socket.url, '/live/aa.3.00000000');
  fake.socket.send(HELLO);
  assert.equal(state(), 'live');
});

test('on reset a page that is gone is replaced by that of the blog', async () => {
  const { fake } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  await fake.request.answer(410);
  assert.equal(fake.request.url, '/blog/bb.9.00000000');
  await fake.request.answer(200, 'bb.9.00000000');
  assert.equal(fake.socket.url, '/live/bb.9.00000000');
});

test('on reset of a blog that is no more it stays away', async () => {
  const { fake, shown } = live();
  fake.socket.send({ t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  await fake.request.answer(404);
  assert.equal(fake.request.url, '/blog/bb.9.00000000'); // perhaps only this page of it is gone
  await fake.request.answer(404);
  assert.deepEqual(shown.at(-1), { name: 'lost', retry_at: null });
  assert.equal(fake.wait_ms, null);
});

// -- ended ----------------------------------------------------------------------------------------

test('after 4510 it looks every ten minutes, with jitter, and when it is seen', async () => {
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

test('a header that is not ended any more brings it back to the stream', async () => {
  const { fake, stream } = setUp('ended');
  stream.start();
  assert.equal(fake.opened.length, 0);
  await fake.request.answer(200, frame(3, 5, [header('live', 5)]));
  assert.equal(fake.socket.url, '/live/aa.5.00000000');
});

test('a reset while it rests ends in rest again', async () => {
  const { fake, stream, state } = setUp('ended');
  stream.start();
  await fake.request.answer(200, { t: 'reset', position: 'bb.9.00000000', after_ms: [0, 0] });
  fake.pass(0);
  await fake.request.answer(200, 'bb.9.00000000');
  assert.equal(fake.request.url, '/changes/bb.9.00000000');
  assert.equal(state(), 'ended');
});

// -- away and back --------------------------------------------------------------------------------

test('seen again while it waits after a cut, it connects at once', () => {
  const { fake, stream } = live();
  fake.socket.end(1006);
  stream.wake();
  assert.equal(fake.opened.length, 2);
  stream.wake();
  assert.equal(fake.opened.length, 2);
});

test('seen again after a sleep of the machine, it does not wait for the watchdog', () => {
  const { fake, stream } = live();
  stream.wake();
  assert.equal(fake.opened.length, 1);
  fake.now_ms += 40_001; // timers stood still
  stream.wake();
  assert.equal(fake.opened.length, 2);
});

test('left, it holds nothing open, and comes back from its position', () => {
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

test('offline it says so, tries on, and connects at once when the network is back', () => {
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

test('where no WebSocket comes up it takes Server-Sent Events, at once and without a word', () => {
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

test('a stream of events that ends in an ended blog means rest', () => {
  const { fake, stream, state } = setUp();
  stream.start();
  fake.socket.end(1006);
  fake.socket.send(HELLO);
  fake.socket.send(frame(3, 4, [header('ended', 4)]));
  fake.socket.end(0);
  assert.equal(state(), 'ended');
  assert.ok(fake.socket.isClosed);
});

test('a WebSocket that has worked gets more tries than one that never did', () => {
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

test('where nothing streams it polls, and says that it is live', async () => {
  const { fake, state, page } = await polling();
  assert.equal(state(), 'live');
  fake.pass(10_000);
  await fake.request.answer(200, frame(3, 6));
  assert.equal(page.timeline.position, 'aa.6.00000000');
  fake.pass(10_000);
  assert.equal(fake.request.url, '/changes/aa.6.00000000');
});

test('a poll that fails, or gives something else, is a cut', async () => {
  for (const answer of [{ status: 503, body: '' }, { status: 200, body: '<html>' }]) {
    const { fake, state } = await polling();
    fake.pass(10_000);
    await fake.request.answer(answer.status, answer.body);
    assert.equal(state(), 'lost');
  }
});

test('while polling works the better transports are tried again, without a word', async () => {
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

test('an answer that comes after the page was left is void', async () => {
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

test('when nothing at all comes up people are told, and the next round waits', async () => {
  const { fake, stream, state } = setUp();
  stream.start();
  for (let i = 0; i < 2; i += 1) fake.socket.end(1006);
  await fake.request.answer(0);
  assert.equal(state(), 'lost');
  assert.equal(fake.opened.length, 2);
  fake.pass(10_000);
  assert.equal(fake.socket.url, `/live/${POSITION}`);
});

test('a refusal is no reason to try another transport', () => {
  const { fake, stream } = setUp();
  stream.start();
  fake.socket.send({ t: 'bye', after_ms: [0, 20_000], why: 'full' });
  fake.socket.end(4002);
  fake.pass(10_000);
  assert.equal(fake.opened.length, 2);
  assert.equal(fake.socket.url, `/live/${POSITION}`);
});

test('a wait that the server asked for is not cut short by a network that comes and goes', () => {
  for (const [code, wait_ms] of [[1008, 35_000], [4001, 20_000]]) {
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
