// Texts that editors typed: kept, copied to the server, sent in order, and left over.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { answerOf } from '../../static/js/answer.js';
import {
  completeNoted,
  deadline,
  Keeper,
  openRecords,
  pageRecords,
  steadyRecords,
} from '../../static/js/desk/keep.js';
import { PRESS_MS, Queue, settle, textOf, waitOf } from '../../static/js/desk/queue.js';
import { ask, kindOf } from '../../static/js/desk/send.js';
import { newTab, Tabs } from '../../static/js/desk/tabs.js';
import {
  alteredOf,
  editedBy,
  valuesToCopy,
  goneId,
  isContained,
  isSame,
  leftOver,
  ofKind,
  sentId,
  shownAs,
  textId,
  typedIn,
  wordsOf,
} from '../../static/js/desk/texts.js';

/** @import {Kept, Sent} from '../../static/js/desk/texts.js' */
/** @import {Answer} from '../../static/js/desk/send.js' */

const SCOPE = ['user:dana', 'night'];
const SPARE = { tab: 'spare', key: 'other' };

/** @param {Partial<Kept>} [fields] @returns {Kept} */
const text = (fields = {}) => {
  const { form = 'new', tab = 'one' } = fields;
  const values = { body: 'Words' };
  return {
    id: textId(SCOPE, form, tab),
    form,
    tab,
    values,
    base: null,
    key: 'k',
    typed_at: 10,
    ...fields,
  };
};

/** @param {Partial<Sent>} [fields] @returns {Sent} */
const sent = (fields = {}) => {
  const { pressed_at = 20, key = 'k' } = fields;
  const id = sentId(SCOPE, pressed_at, key);
  return {
    ...text(),
    path: '/entries',
    tries: 0,
    held: '',
    why: '',
    pressed_at,
    key,
    ...fields,
    id,
  };
};

/** @param {number} status @param {any} [content] @returns {Answer} */
const answer = (status, content = {}) => ({
  kind: kindOf(status, content),
  status,
  content,
  wait_ms: 0,
});

/** Let all promises that can be kept be kept. */
const settled = () => new Promise((done) => setImmediate(done));

// -- answers

test('an answer that leaves open what is stored is none', () => {
  for (const status of [0, 408, 429, 500, 502, 503, 504])
    assert.equal(kindOf(status, {}), 'unanswered');
  assert.equal(kindOf(200, null), 'unanswered', 'a page of a proxy, or a cut answer');
  assert.equal(kindOf(201, {}), 'done');
});

test('an ended session and that of another editor differ from a rejected form', () => {
  assert.equal(kindOf(503, { type: '/problems/damaged' }), 'rejected', 'for good');
  assert.equal(kindOf(401, {}), 'signed-out');
  assert.equal(kindOf(409, { type: '/problems/other-editor' }), 'other-editor');
  for (const status of [403, 404, 409, 410, 412, 413, 422])
    assert.equal(kindOf(status, {}), 'rejected');
});

test('the time that the server asks for is at most a minute, and none when it is a date', async () => {
  const asked = ['Wed, 21 Oct 2026 07:28:00 GMT', '2592000', '7'];
  const server = createServer((_, reply) =>
    reply.writeHead(503, { 'Retry-After': asked.shift() ?? '' }).end(),
  );
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const waits = [];
  for (let i = 0; i < 3; i += 1)
    waits.push((await ask(`http://127.0.0.1:${port}/`, {}, '')).wait_ms);
  server.close();
  server.closeAllConnections();
  assert.deepEqual(waits, [0, 60_000, 7_000]);
});

// -- texts

test('an answer that breaks off in the middle of its text is none', async () => {
  const server = createServer((_, response) => {
    response.writeHead(200, { 'Content-Length': '100' }).write('{"notice":', () => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const url = `http://127.0.0.1:${port}/`;
  const [page, form] = [await answerOf(/** @type {any} */ (globalThis), url), await ask(url, {}, '')];
  server.close();
  assert.deepEqual(page, { status: 0, text: '' });
  assert.equal(form.kind, 'unanswered');
});

test('boxes of one name are the same whatever number of them is empty', () => {
  assert.ok(isSame({ byline: ['Ann', ''] }, { byline: ['Ann'], body: 'x' }));
  assert.ok(isSame({ byline: '' }, {}));
  assert.ok(isSame({ body: 'a\r\nb' }, { body: 'a\nb' }));
  assert.ok(!isSame({ byline: ['Sammy Davis, Jr.'] }, { byline: ['Sammy Davis', 'Jr.'] }));
});

test('only what an editor altered is put into a form that was loaded later', () => {
  const values = {
    headline: 'H',
    pinned: 'true',
    pinned_was: 'true',
    key: 'true',
    key_was: 'false',
  };
  assert.deepEqual(alteredOf(values, { headline: 'H' }), { key: 'true', key_was: 'false' });
  assert.deepEqual(alteredOf({ body: 'b' }), { body: 'b' });
});

test('a text is named by its first words', () => {
  const values = { headline: 'H', body: '\nFirst line\nSecond' };
  assert.equal(wordsOf({ values }), 'H');
  assert.equal(wordsOf({ values, shown: { headline: 'H', body: '' } }), 'First line');
  assert.equal(wordsOf({ values: { body: 'x'.repeat(99) } }).length, 80);
  assert.equal(wordsOf({ values: {} }), '');
  const shown = { headline: 'H', body: '', byline: 'Ann', pinned: 'false' };
  const typed = { ...shown, byline: ['Ann', 'Bo'], pinned: 'true' };
  assert.equal(wordsOf({ values: typed, shown }), 'Ann');
});

test('an edit is named by the entry as the editor found it', () => {
  const shown = { headline: '', body: 'Stored.' };
  assert.equal(editedBy({ values: { headline: 'H', body: 'Mine.' }, shown }), 'Stored.');
  const copy = { headline: 'H', body: 'Mine.', body_was: 'Stored.', headline_was: '' };
  assert.equal(editedBy({ values: copy }), 'Stored.');
  assert.equal(editedBy({ values: { note: 'Why.' }, shown: { note: '' } }), '');
});

test('a value is shown in the words of its box', () => {
  const options = [{ value: 'ended', text: 'Ended' }];
  assert.equal(shownAs({ type: 'select-one', options }, 'ended'), 'Ended');
  assert.equal(shownAs({ type: 'checkbox' }, 'true'), 'Yes');
  assert.equal(shownAs({ type: 'checkbox' }, 'false'), 'No');
  assert.equal(shownAs({ type: 'text' }, ['Ann', 'Bo']), 'Ann\nBo');
});

test('the words of a text are what was typed, without ticks and what belongs to one save', () => {
  const shown = { headline: 'H', body: 'B', note: '', key: 'false' };
  const values = { ...shown, body: 'Mine', note: ' ', key: 'true', revision: '3', status: 'draft' };
  assert.deepEqual(typedIn({ values, shown }), [['body', 'Mine']]);
});

test('another machine knows from a copy which boxes were altered', () => {
  const shown = { headline: 'H', body: 'B', title: 'T', title_was: 'T', revision: '1' };
  const mine = text({ values: { ...shown, body: 'Mine', title: 'Mine, too' }, shown });
  const values = valuesToCopy(mine);
  const altered = { body: 'Mine', body_was: 'B', title: 'Mine, too', title_was: 'T' };
  assert.deepEqual(values, { ...shown, ...altered });
  assert.deepEqual(alteredOf({ ...values, headline_was: 'H' }, { revision: '1' }), altered);
});

test('texts of closed tabs are left over, the newest first; those in use are not', () => {
  const records = [
    text({ tab: 'one' }),
    text({ tab: 'two', typed_at: 30 }),
    text({ tab: 'alive' }),
    sent(),
  ];
  const offers = leftOver(records, [], (_, tab) => tab === 'alive');
  assert.deepEqual(
    offers.map((it) => it.tab),
    ['two', 'one'],
  );
});

test('a copy of the server is offered unless it was sent, dropped or typed on here', () => {
  const copy = { form: 'new', tab: 'far', values: {}, base: null, key: 'far', typed_at: 50 };
  const isOffered = (/** @type {any[]} */ records) =>
    leftOver(records, [copy], () => false).some((it) => it === copy);
  assert.ok(isOffered([]));
  assert.ok(isOffered([text({ tab: 'far', typed_at: 49 })]));
  assert.ok(!isOffered([text({ tab: 'far', typed_at: 50 })]));
  assert.ok(!isOffered([sent({ key: 'far' })]));
  assert.ok(!isOffered([{ id: goneId(SCOPE, 'new', 'far'), typed_at: 50 }]));
  assert.ok(isOffered([{ id: goneId(SCOPE, 'new', 'far'), typed_at: 49 }]));
});

test('a version goes only when each box of it is stored as it is', () => {
  const mine = text({
    values: { headline: 'H', body: 'Mine' },
    shown: { headline: 'H', body: 'B' },
  });
  assert.ok(isContained(mine, { headline: 'Other', body: 'Mine' }));
  assert.ok(!isContained(mine, { headline: 'H', body: 'Theirs' }));
  assert.ok(!isContained(mine, { headline: 'H', body: 'Theirs. Mine.' }));
  const emptied = { ...mine, values: { headline: '', body: 'B' } };
  assert.ok(!isContained(emptied, { headline: 'H', body: 'B' }));
});

// -- keeping

/** A server that stores copies, or answers with `status`. */
function copier() {
  const calls = /** @type {string[]} */ ([]);
  const timers = /** @type {Map<number, [() => void, number]>} */ (new Map());
  const world = {
    calls,
    now: 100,
    status: 204,
    kept: /** @type {any[]} */ ([]),
    stopped: 0,
    sizes: /** @type {number[]} */ ([]),
    /** @type {Promise<void> | undefined} the server's answers wait for this */
    gate: undefined,
    store: pageRecords(),
    /** Let the time of the timers pass. @param {number} wait_ms */
    pass: async (wait_ms) => {
      for (const [id, [run, at]] of [...timers])
        if (at <= wait_ms) {
          timers.delete(id);
          run();
        }
      await settled();
    },
  };
  const keeper = new Keeper({
    store: world.store,
    scope: SCOPE,
    now: () => world.now,
    setTimeout: (run, wait_ms) => (
      timers.set(timers.size + calls.length * 99, [run, wait_ms]),
      [...timers.keys()].at(-1)
    ),
    clearTimeout: (id) => timers.delete(id),
    stopped: () => (world.stopped += 1),
    ask: async (path, init) => {
      const key = new Headers(init.headers).get('Liveblog-Key');
      calls.push(`${init.method} ${path.split('/kept')[1]}${key ? ` with ${key}` : ''}`);
      if (init.body) world.sizes.push(`${init.body}`.length);
      await world.gate;
      const type = world.status === 409 ? '/problems/other-editor' : '';
      return answer(world.status, { kept: world.kept, type });
    },
  });
  return { world, keeper };
}

test('an input is stored at once, and copied to the server after a pause', async () => {
  const { world, keeper } = copier();
  keeper.keep(text({ values: { body: 'W' } }));
  keeper.keep(text({ values: { body: 'Wo' } }));
  assert.deepEqual(
    ofKind(await world.store.all(), 'text').map((it) => it.values.body),
    ['Wo'],
  );
  assert.deepEqual(world.calls, []);
  await world.pass(2_000);
  assert.deepEqual(world.calls, ['PUT /new/one']);
});

test('times of inputs increase when the clock is set back', () => {
  const { world, keeper } = copier();
  const first = keeper.keep(text());
  world.now = 1;
  assert.ok(keeper.keep(text()).typed_at > first.typed_at);
});

test('the time of a press is that of this machine, and its place follows texts of others', () => {
  const { world, keeper } = copier();
  keeper.see(90_000_000);
  const first = keeper.press(text(), '/entries', 0);
  world.now = 200;
  const second = keeper.press(text(), '/entries', 0);
  assert.deepEqual([first.pressed_at, second.pressed_at], [100, 200]);
  assert.ok(first.id.join() < second.id.join());
});

test('a copy is sent again when no answer came, and never of forms unknown there', async () => {
  const { world, keeper } = copier();
  world.status = 503;
  keeper.keep(text());
  keeper.keep(text({ form: 'end' }));
  await world.pass(2_000);
  world.status = 204;
  await world.pass(10_000);
  assert.deepEqual(world.calls, ['PUT /new/one', 'PUT /new/one']);
});

test('a copy is not sent again when its text was sent meanwhile', async () => {
  const { world, keeper } = copier();
  const kept = keeper.keep(text());
  /** @type {() => void} */
  let open = () => {};
  world.gate = new Promise((done) => (open = done));
  await world.pass(2_000);
  keeper.remove(kept);
  world.status = 503;
  open();
  await world.pass(60_000);
  await world.pass(60_000);
  const query = `?typed_at=${kept.typed_at}`;
  assert.deepEqual(world.calls, ['PUT /new/one', `DELETE /new/one${query}`]);
});

test('a page learns from its copies that the session has ended', async () => {
  const { world, keeper } = copier();
  world.status = 401;
  keeper.keep(text());
  await world.pass(2_000);
  assert.equal(world.stopped, 1);
});

test('a page asks who publishes when something was typed, and not when it only looks', async () => {
  const { world, keeper } = copier();
  world.status = 409;
  await keeper.copies();
  assert.equal(world.stopped, 0);
  keeper.keep(text());
  await world.pass(2_000);
  assert.equal(world.stopped, 1);
});

test('a long text is copied without what was there before, and none above the limit', async () => {
  const { world, keeper } = copier();
  const shown = { body: 'b'.repeat(40_000) };
  keeper.keep(text({ values: { body: 'c'.repeat(40_000) }, shown }));
  keeper.keep(text({ tab: 'two', values: { body: 'c'.repeat(70_000) }, shown }));
  await world.pass(2_000);
  assert.deepEqual(world.calls, ['PUT /new/one']);
  assert.ok(world.sizes[0] < 41_000);
});

test('a text that another editor sent is removed for the editor who typed it, too', async () => {
  const { world, keeper } = copier();
  keeper.remove(text({ former: 'user:ann lee', key: 'a&b' }));
  await settled();
  const query = '?typed_at=10';
  assert.deepEqual(world.calls, [
    `DELETE /new/one${query}`,
    `DELETE /new/one${query}&editor=user%3Aann%20lee with a&b`,
  ]);
});

test('a dropped text is removed here and on the server, and no copy of it returns', async () => {
  const { world, keeper } = copier();
  const kept = keeper.keep(text());
  world.status = 503;
  await keeper.drop([kept]);
  await world.pass(60_000);
  assert.deepEqual(world.calls, [`DELETE /new/one?typed_at=${kept.typed_at}`]);
  assert.deepEqual(ofKind(await world.store.all(), 'text'), []);
  world.status = 200;
  world.kept = [kept];
  assert.deepEqual(await keeper.copies(), []);
  await settled();
  assert.equal(world.calls.at(-1), `DELETE /new/one?typed_at=${kept.typed_at}`);
  world.kept = [];
  await keeper.copies();
  assert.deepEqual(await world.store.all(), []);
});

/** Records over a disk that may be full, with their notes. */
function steady(disk = pageRecords()) {
  const world = { isFull: false, fails: 0, noted: /** @type {any} */ (undefined), writes: 0 };
  const write = async (/** @type {any} */ puts, /** @type {any} */ deletes) => {
    world.writes += 1;
    if (world.isFull) throw new Error('full');
    await disk.write(puts, deletes);
  };
  const records = steadyRecords(
    { ...disk, write },
    {
      inTime: (it) => it,
      note: (it) => (world.noted = it),
      onwrite: (isWritten) => (world.fails += Number(!isWritten)),
    },
  );
  const typed = async (/** @type {any} */ of) =>
    (await of.all()).map((/** @type {any} */ it) => it.typed_at);
  return { world, disk, records, typed };
}

test('what cannot be written lives as long as the page, and is noted until it is', async () => {
  const { world, disk, records, typed } = steady();
  world.isFull = true;
  await records.write([text()]);
  await records.write([text({ typed_at: 11 })]);
  assert.deepEqual(await typed(records), [11]);
  assert.deepEqual(world.noted, [[text({ typed_at: 11 })], []]);
  assert.equal(world.fails, 2);
  world.isFull = false;
  await records.write([text({ tab: 'two' })]);
  assert.deepEqual(await typed(disk), [11, 10], 'the next write writes both');
  assert.equal(world.noted, undefined);
  await records.write([], [text().id]);
  assert.deepEqual(await typed(records), [10]);
});

test('a read without an answer gives what was read before, and written since', async () => {
  const disk = pageRecords();
  let isLate = false;
  const all = () => (isLate ? Promise.reject(new Error('late')) : disk.all());
  const { records, typed } = steady({ ...disk, all });
  await records.write([text(), sent()]);
  assert.equal((await records.all()).length, 2);
  await records.write([text({ typed_at: 11 })], [sent().id]);
  isLate = true;
  assert.deepEqual(await typed(records), [11]);
});

test('a record that a full disk cannot delete is gone for the page, and deleted later', async () => {
  const { world, disk, records } = steady();
  await records.write([sent()]);
  world.isFull = true;
  await records.write([], [sent().id]);
  assert.deepEqual(await records.all(), []);
  assert.equal((await disk.all()).length, 1);
  assert.deepEqual(world.noted, [[], [sent().id]]);
  world.isFull = false;
  await records.write([text()]);
  assert.deepEqual(
    (await disk.all()).map((it) => it.id),
    [text().id],
  );
  world.isFull = true;
  await records.write([], [text().id]);
  await records.write([text()]);
  assert.equal((await records.all()).length, 1, 'typed again');
});

test('a form that was sent without a disk leaves no note when it was answered', async () => {
  const { world, records } = steady();
  world.isFull = true;
  await records.write([text()]);
  await records.write([sent()], [text().id]);
  await records.write([], [sent().id]);
  assert.deepEqual(world.noted, [[], [text().id, sent().id]]);
});

test('a record that no disk takes keeps no other record from the disk', async () => {
  const disk = pageRecords();
  const write = async (/** @type {any[]} */ puts, /** @type {any} */ deletes) => {
    if (puts.some((it) => it.tab === 'large')) throw new Error('too large');
    await disk.write(puts, deletes);
  };
  const { records } = steady({ ...disk, write });
  await records.write([text({ tab: 'large' })]);
  await records.write([text()]);
  assert.deepEqual(
    (await disk.all()).map((it) => it.tab),
    ['one'],
  );
  assert.equal((await records.all()).length, 2);
});

test('a call without an answer fails in time, and the next ones fail at once', async () => {
  const disk = pageRecords();
  const timers = /** @type {Map<number, [() => void, number]>} */ (new Map());
  const inTime = deadline({
    setTimeout: (run, wait_ms) => (timers.set(timers.size, [run, wait_ms]), timers.size - 1),
    clearTimeout: (id) => timers.delete(id),
  });
  let free = () => {};
  const stuck = new Promise((done) => (free = () => done(null)));
  const write = (/** @type {any} */ puts) => stuck.then(() => disk.write(puts));
  let [fails, noted] = [0, /** @type {any} */ (undefined)];
  const records = steadyRecords(
    { ...disk, write },
    {
      inTime,
      note: (it) => (noted = it),
      onwrite: (isWritten) => (fails += Number(!isWritten)),
    },
  );
  await records.all();
  assert.equal(timers.size, 0, 'an answer stops its timer');
  for (const [typed_at, wait_ms] of [
    [11, 2_500],
    [12, 0],
  ]) {
    const written = records.write([text({ typed_at })]);
    const [[id, [run, given_ms]]] = timers;
    assert.equal(given_ms, wait_ms);
    timers.delete(id);
    run();
    await written;
  }
  assert.equal(fails, 2);
  assert.deepEqual(
    (await records.all()).map((it) => it.typed_at),
    [12],
    'the page has what is not written',
  );
  free();
  await settled();
  assert.equal(noted, undefined, 'the late write arrived');
  await records.write([text({ typed_at: 13 })]);
  assert.equal(fails, 2, 'it answers again');
  assert.deepEqual(
    (await disk.all()).map((it) => it.typed_at),
    [13],
  );
});

/** A browser's storage whose bases are opened, and closed, by hand. */
function storage() {
  const openings = /** @type {any[]} */ ([]);
  const written = /** @type {any[]} */ ([]);
  const baseOf = () => {
    const base = {
      isClosed: false,
      transaction: () => {
        if (base.isClosed) throw new Error('closed');
        const transaction = /** @type {any} */ ({ commit: () => transaction.oncomplete() });
        const put = (/** @type {any} */ it) => written.push(it);
        return { objectStore: () => ({ transaction, put }) };
      },
    };
    return base;
  };
  const open = () => {
    const opening = /** @type {any} */ ({ result: baseOf() });
    openings.push(opening);
    return opening;
  };
  return { openings, written, factory: /** @type {any} */ ({ open }) };
}

test('records that are never opened fail in time', async () => {
  const inTime = deadline({ setTimeout: (run) => run(), clearTimeout: () => {} });
  await assert.rejects(inTime(openRecords(storage().factory, SCOPE).all()));
});

test('writes stay in their order while a closed base is opened again', async () => {
  const { openings, written, factory } = storage();
  const records = openRecords(factory, SCOPE);
  openings[0].onsuccess();
  await records.write([1]);
  openings[0].result.isClosed = true;
  const writes = [records.write([2]), records.write([3])];
  await settled();
  assert.equal(openings.length, 2, 'opened once for both');
  writes.push(records.write([4]));
  openings[1].onsuccess();
  writes.push(records.write([5]));
  await Promise.all(writes);
  assert.deepEqual(written, [1, 2, 3, 4, 5]);
});

/** The notes of a browser, as localStorage has them. @param {Record<string, any>} contents */
function notepad(contents) {
  const map = new Map(Object.entries(contents).map(([name, it]) => [name, JSON.stringify(it)]));
  return {
    get length() {
      return map.size;
    },
    key: (/** @type {number} */ i) => [...map.keys()][i] ?? null,
    getItem: (/** @type {string} */ name) => map.get(name) ?? null,
    removeItem: (/** @type {string} */ name) => void map.delete(name),
  };
}

const NOTE = 'liveblog ahead one page';
const none = async () => new Set();

test('a killed tab’s note is completed, by its editor, once', async () => {
  const disk = pageRecords();
  await disk.write([text()]);
  const notes = notepad({ [NOTE]: [[sent({ typed_at: 11 })], [text().id]] });
  await completeNoted(disk, notes, SCOPE, async () => new Set(['one']));
  assert.equal(ofKind(await disk.all(), 'sent').length, 0, 'the tab is alive');
  await completeNoted(disk, notes, SCOPE, async () => new Set(['page']));
  assert.equal(ofKind(await disk.all(), 'sent').length, 0, 'the page is alive');
  await completeNoted(disk, notes, ['user:kim', 'night'], none);
  assert.equal(notes.length, 1, 'another editor’s notes stay');
  await completeNoted(disk, notes, SCOPE, none);
  assert.deepEqual(
    (await disk.all()).map((it) => it.id[2]),
    ['sent'],
  );
  assert.equal(notes.length, 0);
});

test('the notes beside a damaged one are completed', async () => {
  const disk = pageRecords();
  const cut = 'liveblog ahead a b';
  const notes = notepad({ [cut]: [], [NOTE]: [[text()], []] });
  const getItem = (/** @type {string} */ name) => (name === cut ? '[[{' : notes.getItem(name));
  await completeNoted(disk, { ...notes, getItem, length: 2 }, SCOPE, none);
  assert.deepEqual(await disk.all(), [text()]);
});

test('a noted write alters nothing that was typed later', async () => {
  const disk = pageRecords();
  const notes = notepad({ [NOTE]: [[sent({ typed_at: 11 })], [text().id]] });
  await disk.write([text({ typed_at: 12 })]);
  await completeNoted(disk, notes, SCOPE, none);
  assert.deepEqual(
    ofKind(await disk.all(), 'text').map((it) => it.typed_at),
    [12],
  );
});

test('a noted text that was dropped meanwhile is not brought back', async () => {
  const disk = pageRecords();
  const notes = notepad({ [NOTE]: [[text({ typed_at: 11 })], []] });
  const gone = { id: goneId(SCOPE, 'new', 'one'), typed_at: 11 };
  await disk.write([gone]);
  await completeNoted(disk, notes, SCOPE, none);
  assert.deepEqual(await disk.all(), [gone]);
  assert.equal(notes.length, 0);
});

test('what another editor took over is completed for that editor alone', async () => {
  const disk = pageRecords();
  const [mine, kim] = [text(), ['user:kim', 'night']];
  const moved = { ...mine, id: textId(kim, 'new', 'one'), former: SCOPE[0] };
  await disk.write([mine]);
  const gone = { id: goneId(SCOPE, 'new', 'one'), typed_at: 10 };
  const notes = notepad({ [NOTE]: [[gone, moved], [mine.id]] });
  await completeNoted(disk, notes, SCOPE, none);
  assert.deepEqual(await disk.all(), [mine]);
  await completeNoted(disk, notes, kim, none);
  assert.deepEqual(await disk.all(), [gone, moved]);
  assert.equal(notes.length, 0);
});

// -- the queue

test('what was not answered waits longer each time, and as long as the server asks', () => {
  const asked = { ...answer(503), wait_ms: 60_000 };
  assert.equal(settle(sent(), answer(0), [], SPARE).wait_ms, 1_000);
  assert.equal(settle(sent({ tries: 2 }), answer(0), [], SPARE).wait_ms, 4_000);
  assert.equal(settle(sent(), asked, [], SPARE).wait_ms, 60_000);
  assert.equal(waitOf(sent({ tries: 99 })), 15_000);
});

test('a rejected entry becomes a text of its own, with its reasons and its key', () => {
  const problem = { reason: 'The headline is too long.', boxes: { headline: 'At most 300.' } };
  const { puts, deletes, wait_ms } = settle(sent(), answer(422, problem), [], SPARE);
  const { tab, key, reason, boxes, values } = /** @type {Kept} */ (puts[0]);
  assert.deepEqual(
    { tab, key, reason, boxes, values },
    { tab: 'spare', key: 'k', ...problem, values: { body: 'Words' } },
  );
  assert.deepEqual([deletes, wait_ms], [[sent().id], null]);
});

test('an edit of a damaged entry waits for a press, and those behind it go on', () => {
  const problem = { type: '/problems/damaged', reason: 'The entry is damaged.' };
  const item = sent({ form: 'e000000000001' });
  const { puts, wait_ms } = settle(item, answer(503, problem), [], SPARE);
  assert.deepEqual(puts, [{ ...item, held: 'The entry is damaged.' }]);
  assert.equal(wait_ms, null);
});

test('a text gets another key when the server has stored something else under the old one', () => {
  const problem = { type: '/problems/idempotency-key-reused' };
  assert.equal(
    /** @type {any} */ (settle(sent(), answer(422, problem), [], SPARE).puts[0]).key,
    'other',
  );
});

test('a rejected edit returns to its form, but not over what was typed there since', () => {
  const edit = sent({ form: 'e1', values: { body: 'Sent' } });
  assert.equal(textOf(edit, 'spare', []).tab, 'one');
  assert.equal(textOf(edit, 'spare', [text({ form: 'e1' })]).tab, 'spare');
});

test('a new entry waits for a press when the blog has ended', () => {
  const { puts } = settle(sent(), answer(409, { detail: 'The blog has ended.' }), [], SPARE);
  assert.equal(/** @type {any} */ (puts[0]).held, 'The blog has ended.');
});

/** @param {(item: Sent) => Promise<Answer> | Answer} reply */
function newsroom(reply) {
  const store = pageRecords();
  const timers = /** @type {[() => void, number][]} */ ([]);
  const sends = /** @type {string[]} */ ([]);
  const answers = /** @type {string[]} */ ([]);
  const queue = new Queue({
    store,
    send: async (item) => (sends.push(item.key), reply(item)),
    alone: (work) => work(),
    spare: () => SPARE,
    say: (name) => name,
    now: () => 1_000,
    setTimeout: (run, wait_ms) => timers.push([run, wait_ms]),
    clearTimeout: () => timers.splice(0),
  });
  queue.onanswer = (item, { kind }) => answers.push(`${item.key} ${kind}`);
  return { queue, store, timers, sends, answers };
}

test('forms are sent in order, once each, when the network returns', async () => {
  let isOnline = false;
  const { queue, store, timers, sends } = newsroom(() => answer(isOnline ? 201 : 0));
  for (const key of ['a', 'b', 'c'])
    await queue.add(sent({ key, pressed_at: 20 + key.charCodeAt(0) }), []);
  assert.ok(
    sends.every((it) => it === 'a'),
    'those behind it wait',
  );
  isOnline = true;
  sends.length = 0;
  timers[0][0]();
  await settled();
  assert.deepEqual(sends, ['a', 'b', 'c']);
  assert.deepEqual(ofKind(await store.all(), 'sent'), []);
  assert.equal(ofKind(await store.all(), 'gone').length, 1, 'so no copy of the server returns');
  assert.equal(timers.length, 0);
});

test('a rejected form steps aside, and the others are sent', async () => {
  const { queue, store, answers } = newsroom(({ key }) => answer(key === 'a' ? 422 : 201));
  await store.write([sent({ key: 'a', pressed_at: 1 }), sent({ key: 'b', pressed_at: 2 })]);
  await queue.drain();
  assert.deepEqual(answers, ['a rejected', 'b done']);
  assert.deepEqual(
    ofKind(await store.all(), 'text').map((it) => it.key),
    ['a'],
  );
});

test('a form of yesterday is not sent without a press', async () => {
  const { queue, store, sends } = newsroom(() => answer(201));
  const old = sent({ key: 'old', pressed_at: 999 - PRESS_MS });
  const tried = sent({ key: 'tried', pressed_at: 998 - PRESS_MS, tries: 1 });
  await store.write([old, tried, sent({ key: 'new', pressed_at: 900 })]);
  await queue.drain();
  assert.deepEqual(sends, ['new']);
  assert.deepEqual(
    (await queue.items()).map(({ key, held }) => [key, held]),
    [
      ['old', 'unsent'],
      ['tried', 'old'],
    ],
  );
  const [held] = await queue.items();
  await queue.press(held);
  assert.deepEqual(sends, ['new', 'old']);
});

test('nothing is sent until the editor has signed in again, and then the same form', async () => {
  let status = 401;
  const { queue, timers, sends } = newsroom(() => answer(status));
  await queue.add(sent({ key: 'a' }), []);
  assert.equal(timers.length, 0);
  status = 201;
  await queue.drain();
  assert.deepEqual(sends, ['a', 'a']);
});

test('a tab sends what another tab left when that one was closed', async () => {
  const { queue, store, timers, sends } = newsroom(() => answer(201));
  await queue.drain();
  await store.write([sent({ key: 'a' })]); // by the other tab
  await queue.show();
  await queue.show();
  assert.equal(timers.length, 1);
  timers[0][0]();
  await settled();
  assert.deepEqual(sends, ['a']);
});

test('a slow answer is followed by the wait that it asks for', async () => {
  /** @type {(answer: Answer) => void} */
  let reply = () => {};
  const { queue, timers, sends } = newsroom(() => new Promise((done) => (reply = done)));
  queue.add(sent({ key: 'a' }), []);
  await settled();
  timers[0][0](); // 5 s have passed
  reply({ ...answer(503), wait_ms: 60_000 });
  await settled();
  assert.deepEqual(sends, ['a']);
  assert.equal(timers.at(-1)?.[1], 60_000);
});

test('what another editor got while it was being sent is marked, and goes when it is stored', async () => {
  /** @type {(answer: Answer) => void} */
  let reply = () => {};
  const { queue, store, sends, answers } = newsroom(() => new Promise((done) => (reply = done)));
  queue.add(sent({ key: 'a' }), []);
  await settled();
  const [item] = await queue.items();
  assert.equal(item.tries, 1, 'another tab, too, sees that it may be stored');
  await store.write([{ ...item, id: ['user:eve', ...item.id.slice(1)] }], [item.id]);
  queue.drain();
  reply(answer(201));
  await settled();
  assert.deepEqual([sends, answers], [['a'], ['a done']]);
  assert.deepEqual(await queue.items(), []);
});

test('a form that the server did not take for want of a session is not marked as sent', async () => {
  const { queue } = newsroom(() => answer(401));
  await queue.add(sent(), []);
  assert.equal((await queue.items())[0].tries, 0);
});

test('a form that was taken back is a text again, whatever the server answers then', async () => {
  /** @type {(answer: Answer) => void} */
  let reply = () => {};
  const { queue, store, answers } = newsroom(() => new Promise((done) => (reply = done)));
  queue.add(sent({ key: 'a' }), []);
  await settled();
  const back = await queue.takeBack((await queue.items())[0]);
  assert.deepEqual([back.values, back.key, back.reason], [{ body: 'Words' }, 'a', 'maybe']);
  reply(answer(422));
  await settled();
  assert.deepEqual(
    (await store.all()).map((it) => it.id),
    [back.id],
  );
  assert.deepEqual(answers, []);
});

test('a text that was sent without an answer says that it may be published', async () => {
  const { queue, store } = newsroom(() => answer(0));
  await store.write([sent({ key: 'a', tries: 1 }), sent({ key: 'b' })]);
  assert.equal((await queue.takeBack(sent({ key: 'a' }))).reason, 'maybe', 'sent since it was shown');
  assert.equal((await queue.takeBack(sent({ key: 'b' }))).reason, '');
  assert.equal((await queue.takeBack(sent({ key: 'b' }))).reason, 'maybe', 'answered meanwhile');
});

// -- tabs

/** A browser with tabs. @param {boolean} hasLocks */
function browser(hasLocks) {
  /** @type {Set<(data: any) => void>} */
  const ears = new Set();
  const held = new Map();
  return /** @param {Map<string, string>} storage */ (storage) => {
    /** @type {(data: any) => void} */
    let ear = () => {};
    const channel = {
      addEventListener: (/** @type {string} */ _, /** @type {any} */ run) =>
        ears.add((ear = (data) => run({ data }))),
      postMessage: (/** @type {any} */ data) => ears.forEach((it) => it !== ear && it(data)),
    };
    const locks = {
      request: async (
        /** @type {string} */ name,
        /** @type {any} */ options,
        /** @type {any} */ run,
      ) => {
        if (held.has(name)) {
          if (options.ifAvailable) return run(null);
          return new Promise((_, fail) =>
            options.signal.addEventListener('abort', () => fail(new Error('aborted'))),
          );
        }
        held.set(name, true);
        return Promise.resolve(run({})).finally(() => held.delete(name));
      },
      query: async () => ({ held: [...held.keys()].map((name) => ({ name })) }),
    };
    const parts = {
      channel,
      storage: {
        getItem: (/** @type {string} */ name) => storage.get(name) ?? null,
        setItem: (/** @type {string} */ name, /** @type {string} */ value) =>
          storage.set(name, value),
      },
      newId: newTab,
      setTimeout: (/** @type {() => void} */ run) => setImmediate(run),
      ...(hasLocks ? { locks } : {}),
    };
    return new Tabs(/** @type {any} */ (parts));
  };
}

test('a tab takes another id when a busy tab answers late that it holds the id', async () => {
  const open = browser(false);
  const tab = open(new Map());
  const id = await tab.start();
  let renewed = '';
  tab.onrenew = () => (renewed = tab.id);
  open(new Map()).parts.channel?.postMessage({ tabs: [id] });
  for (let i = 0; i < 5; i += 1) await settled();
  assert.ok(renewed && renewed !== id);
});

test('a tab works without locks, whatever ids it and others hold beside their own', async () => {
  const open = browser(false);
  const [low, high] = ['5', '7'].map((id) => open(new Map([['liveblog tab', id]])));
  for (const it of [low, high]) await it.start();
  await low.hold('4');
  await high.hold('1');
  const works = /** @type {string[]} */ ([]);
  for (const it of [low, high])
    await it.alone('queue', async () => void works.push(it.id));
  assert.deepEqual(works, ['5']);
});

for (const hasLocks of [true, false]) {
  const how = hasLocks ? 'with locks' : 'by messages';

  test(`a duplicated tab notices that its id is taken, and both are alive, ${how}`, async () => {
    const open = browser(hasLocks);
    const storage = new Map();
    const first = open(storage);
    const copy = open(new Map(storage));
    await first.start();
    const duplicate = open(new Map(storage));
    await duplicate.start();
    assert.match(first.id, /^[0-9a-z]{16}$/);
    assert.notEqual(first.id, duplicate.id);
    assert.deepEqual(await copy.living(), new Set([first.id, duplicate.id]));
    assert.ok(!(await copy.hold(first.id)));
  });

  test(`a tab keeps its id when it is loaded again, ${how}`, async () => {
    const storage = new Map();
    const before = browser(hasLocks)(storage);
    await before.start();
    const after = browser(hasLocks)(storage); // the page before is gone, with its lock and channel
    assert.equal(await after.start(), before.id);
  });

  test(`one of two tabs works, ${how}`, async () => {
    const open = browser(hasLocks);
    const tabs = [open(new Map()), open(new Map())];
    for (const it of tabs) await it.start();
    let works = 0;
    /** @type {() => void} */
    let finish = () => {};
    const work = () => ((works += 1), new Promise((/** @type {any} */ done) => (finish = done)));
    const both = tabs.map((it) => it.alone('queue', /** @type {any} */ (work)));
    for (let i = 0; i < 5; i += 1) await settled();
    assert.equal(works, 1);
    finish();
    await Promise.all(both);
  });
}
