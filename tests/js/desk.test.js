// The desk's forms: values of boxes become fields of the API; answers of the API become sentences.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  alteredOf,
  boxNameOf,
  entryFields,
  headerFields,
  instantOf,
  isEmpty,
  keptOf,
  merge,
  namesOf,
  outcomeOf,
  sentence,
} from '../../static/js/desk/form.js';

const NEW_YORK = 'America/New_York';

/** @param {Partial<import('../../static/js/desk/form.js').Entry>} fields */
const entry = (fields) => ({
  id: 'e000000000001',
  headline: null,
  body: null,
  byline: [],
  dateline: null,
  key_title: null,
  status: 'published',
  revision: 1,
  ...fields,
});

test('names in a byline are lines and may hold commas', () => {
  assert.deepEqual(namesOf(' Sammy Davis, Jr. \nBo Two\n\n'), ['Sammy Davis, Jr.', 'Bo Two']);
});

test('a time counts in the zone of the blog, in summer and in winter', () => {
  assert.equal(instantOf('2026-07-01T12:00', NEW_YORK), '2026-07-01T16:00:00.000Z');
  assert.equal(instantOf('2026-01-01T12:00:30', NEW_YORK), '2026-01-01T17:00:30.000Z');
  assert.equal(instantOf('2026-01-01T12:00', 'Asia/Kathmandu'), '2026-01-01T06:15:00.000Z');
});

test('the first of two equal hours counts, and a skipped hour has the offset before it', () => {
  assert.equal(instantOf('2026-11-01T01:30', NEW_YORK), '2026-11-01T05:30:00.000Z');
  assert.equal(instantOf('2026-03-08T02:30', NEW_YORK), '2026-03-08T07:30:00.000Z');
});

test('an invalid time is sent as it is, for the API to reject', () => {
  assert.equal(instantOf('tomorrow', 'UTC'), null);
  assert.equal(instantOf('2026-13-01T00:00', 'UTC'), null);
  assert.deepEqual(entryFields({ publish_at: 'tomorrow' }, 'UTC'), { publish_at: 'tomorrow' });
  const published_at = '2020-01-01T00:00:00.123Z';
  assert.deepEqual(entryFields({ published_at }, 'UTC'), { published_at });
  assert.deepEqual(entryFields({ published_at: '' }, 'UTC'), { published_at: null });
});

test('an entry has line feeds only, null for an empty box and no field without a box', () => {
  const values = {
    headline: ' ',
    body: 'One\r\n\r\nTwo “quoted”',
    byline: 'Ann',
    key: 'true',
    pinned: 'false',
  };
  assert.deepEqual(entryFields(values, 'UTC'), {
    headline: null,
    body: 'One\n\nTwo “quoted”',
    byline: ['Ann'],
    key: true,
    pinned: false,
  });
});

test('publishing with a time means scheduling; the API rejects a draft with a time', () => {
  const at = { publish_at: '2030-01-01T00:00' };
  const publish_at = '2030-01-01T00:00:00.000Z';
  assert.deepEqual(entryFields({ status: 'published', ...at }, 'UTC'), { publish_at });
  assert.deepEqual(entryFields({ status: 'draft', ...at }, 'UTC'), { status: 'draft', publish_at });
  assert.deepEqual(entryFields({ status: 'published', publish_at: '' }, 'UTC'), {
    status: 'published',
  });
});

test('an edit sends only changed boxes', () => {
  assert.deepEqual(alteredOf({ body: 'b', pinned: 'true' }, { body: 'a', pinned: 'true' }), {
    body: 'b',
  });
});

test('a header sends only changed boxes, and a link as a whole', () => {
  const base = {
    title: 'A',
    dek: 'D',
    successor_text: '',
    successor_url: '',
    full_coverage_text: 'F',
    full_coverage_url: '/f',
  };
  const values = {
    ...base,
    dek: '',
    successor_url: ' /next ',
    full_coverage_text: '',
    full_coverage_url: '',
  };
  assert.deepEqual(headerFields(values, base), {
    dek: null,
    successor: { text: '/next', url: '/next' },
    full_coverage: null,
  });
  assert.deepEqual(headerFields(base, base), {});
});

test('a start counts in the zone of the same form, and is sent when either changed', () => {
  const base = { title: 'Council', timezone: NEW_YORK, starts_at: '2026-07-01T20:00' };
  const sent = (/** @type {Record<string, string>} */ altered) =>
    headerFields({ ...base, ...altered }, base);
  assert.deepEqual(sent({ title: 'Another' }), { title: 'Another' });
  assert.deepEqual(sent({ starts_at: '2026-12-01T20:00' }), {
    starts_at: '2026-12-02T01:00:00.000Z',
  });
  assert.deepEqual(sent({ timezone: 'Europe/London' }), {
    timezone: 'Europe/London',
    starts_at: '2026-07-01T19:00:00.000Z',
  });
  assert.deepEqual(sent({ starts_at: ' ' }), { starts_at: null });
  assert.deepEqual(sent({ starts_at: 'soon' }), { starts_at: 'soon' });
  assert.deepEqual(sent({ timezone: 'Mars/Olympus' }), { timezone: 'Mars/Olympus' });
  assert.deepEqual(headerFields({ status: 'ended' }, {}), { status: 'ended' });
});

test('a JSON pointer of the API names its box', () => {
  assert.deepEqual(['/body', '/byline/0', '/successor/url', '/'].map(boxNameOf), [
    'body',
    'byline',
    'successor_url',
    '',
  ]);
});

test('a rejection has its reason at the box, as a sentence', () => {
  const detail = 'has 20001 characters; the limit is 20000';
  const outcome = outcomeOf(422, {
    type: '/problems/invalid-field',
    detail: `body: ${detail}`,
    errors: [{ pointer: '/body', detail }],
  });
  assert.equal(outcome.kind, 'rejected');
  assert.deepEqual(outcome.fields, { body: 'Has 20001 characters; the limit is 20000.' });
});

test('without an answer, or with 5xx, the outcome is unknown and another try is safe', () => {
  for (const status of [0, 500, 503]) {
    const { kind, reason } = outcomeOf(status, {});
    assert.equal(kind, 'unknown');
    assert.match(reason, /will not be published twice/);
  }
});

test('a write that the store refused is not saved, and the reason says why', () => {
  const detail = 'The request was not stored. The store refuses writes: its memory is full.';
  const { kind, reason } = outcomeOf(503, { type: '/problems/store-refuses', detail });
  assert.equal(kind, 'unsaved');
  assert.equal(
    reason,
    `Publishing is unavailable right now. Your text is safe here. ${detail}`,
  );
});

test('each other status has its own outcome', () => {
  const reused = { type: '/problems/idempotency-key-reused', detail: 'x' };
  assert.equal(outcomeOf(201, {}).kind, 'done');
  assert.equal(outcomeOf(401, {}).kind, 'signed-out');
  assert.equal(outcomeOf(409, {}).kind, 'rejected');
  assert.equal(outcomeOf(410, {}).kind, 'gone');
  assert.equal(outcomeOf(412, {}).kind, 'conflict');
  assert.equal(outcomeOf(422, reused).kind, 'already');
  assert.match(outcomeOf(429, {}, 7).reason, /7 seconds/);
});

test('a sentence starts with a capital and ends with a full stop', () => {
  assert.equal(sentence('is empty'), 'Is empty.');
  assert.equal(sentence('Is it?'), 'Is it?');
});

test('merging takes a box that one editor changed, and shows both texts of a box that both changed', () => {
  const base = { headline: 'H', body: 'B', byline: 'Ann\nBo', dateline: '', key_title: '' };
  const mine = { ...base, body: 'Mine', byline: 'Ann\nBo ' };
  const theirs = entry({ headline: 'Theirs too', body: 'Theirs', byline: ['Ann', 'Bo'] });
  assert.deepEqual(merge(mine, base, theirs), {
    taken: { headline: 'Theirs too' },
    both: [{ name: 'body', theirs: 'Theirs' }],
  });
});

test('two edits with the same text are no conflict', () => {
  const base = { headline: '', body: 'B' };
  assert.deepEqual(merge({ ...base, body: 'Same\r\n' }, base, entry({ body: 'Same\n' })), {
    taken: {},
    both: [],
  });
});

test('a form without words is empty, whether boxes are ticked or not', () => {
  assert.equal(isEmpty({ body: ' \n', byline: 'Ann', pinned: 'true' }), true);
  assert.equal(isEmpty({ body: '', headline: 'H' }), false);
});

test('saved text is restored as a whole or not at all', () => {
  const kept = { values: { body: 'Text' }, key: 'k1' };
  assert.deepEqual(keptOf(JSON.stringify(kept)), kept);
  for (const stored of [
    null,
    '',
    '{',
    '[]',
    '{"values":null,"key":"k"}',
    '{"values":{"body":1},"key":"k"}',
  ]) {
    assert.equal(keptOf(stored), null);
  }
});
