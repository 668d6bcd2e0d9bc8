// Times on the page: relative times, the start of a day, and a wrong clock of the browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Times, ago, clockOf, isSameDay, titleOf } from '../../static/js/time.js';

const NOW = Date.parse('2026-11-22T14:05:00Z');
const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];

/** @type {[number, string][]} */
const AGES = [
  [-5 * DAY, 'now'],
  [0, 'now'],
  [59 * SECOND, 'now'],
  [MINUTE, '1 minute ago'],
  [59 * MINUTE + 59 * SECOND, '59 minutes ago'],
  [HOUR, '1 hour ago'],
  [23 * HOUR, '23 hours ago'],
  [DAY, '1 day ago'],
  [30 * DAY, '30 days ago'],
  [31 * DAY, '1 month ago'],
  [364 * DAY, '11 months ago'],
  [746 * DAY, '2 years ago'],
];

for (const [age_ms, text] of AGES) {
  test(`${age_ms} ms ago reads "${text}"`, () => assert.equal(ago(NOW - age_ms, NOW, 'en'), text));
}

test('relative times are in the language of the blog', () => {
  assert.equal(ago(NOW - 2 * HOUR, NOW, 'fr'), 'il y a 2 heures');
});

test('a day starts at midnight in the zone of the blog', () => {
  const [late, early] = ['2026-11-22T04:59:59Z', '2026-11-22T05:00:00Z'].map(Date.parse);
  assert.ok(!isSameDay(late, early, 'America/New_York'));
  assert.ok(isSameDay(late, early, 'UTC'));
});

/** Language, zone, time of day, and the `title` that liveblog/html/when.py writes for them. */
const TITLES = [
  ['en', 'America/New_York', '1:57 AM EST', 'Wednesday, November 6, 2024, 1:57 AM EST (America/New_York)'],
  ['en-GB', 'Europe/London', '06:57 GMT', 'Wednesday, 6 November 2024, 06:57 GMT (Europe/London)'],
  ['de', 'UTC', '06:57 UTC', 'Mittwoch, 6. November 2024, 06:57 UTC'],
  ['ja', 'Asia/Tokyo', '15:57 JST', '2024年11月6日水曜日, 15:57 JST (Asia/Tokyo)'],
  ['fa', 'Asia/Tehran', '10:27 UTC+3:30', 'چهارشنبه 6 نوامبر 2024, 10:27 UTC+3:30 (Asia/Tehran)'],
  ['th', 'Asia/Bangkok', '13:57 น. UTC+7', 'วันพุธที่ 6 พฤศจิกายน ค.ศ. 2024, 13:57 น. UTC+7 (Asia/Bangkok)'],
  ['ar', 'Africa/Cairo', '8:57 ص EET', 'الأربعاء، 6 نوفمبر 2024, 8:57 ص EET (Africa/Cairo)'],
  ['xx-Nowhere', 'UTC', '6:57 AM UTC', 'Wednesday, November 6, 2024, 6:57 AM UTC'],
];

for (const [language, zone, clock, title] of TITLES) {
  test(`the title of a time is the server's in ${language}`, () =>
    assert.equal(titleOf(Date.parse('2024-11-06T06:57:00Z'), clock, language, zone), title));
}

test("a clock has the server's digits and spaces in every language", () => {
  const clocks = ['en', 'fa'].map((it) => clockOf(Date.parse('2024-11-06T06:57:00Z'), it, 'UTC'));
  assert.deepEqual(clocks, ['6:57 AM UTC', '6:57 (UTC)']);
});

/** A stand-in for the element that has an entry's time, as the server renders it. */
class Line {
  /** @param {string} datetime */
  constructor(datetime) {
    /** @type {any} */
    this.firstChild = { nodeType: 1 };
    this.date = {
      isHidden: false,
      toggleAttribute: (/** @type {string} */ _, /** @type {boolean} */ isSet) => {
        this.date.isHidden = isSet;
      },
    };
    this.time = { getAttribute: () => datetime, querySelector: () => this.date };
  }

  matches = () => true;

  prepend() {
    this.firstChild = { nodeType: 3, data: '' };
  }

  /** @param {string} selector */
  querySelector(selector) {
    return selector === 'time' ? this.time : null;
  }
}

/** @param {Line[]} lines @returns {any} */
const root = (...lines) => ({ querySelectorAll: () => lines });

test('the relative time is inserted first, and only the date of today is hidden', () => {
  const [today, yesterday] = [new Line('2026-11-22T13:05:00Z'), new Line('2026-11-21T13:05:00Z')];
  new Times({ language: 'en', zone: 'UTC' }, () => NOW).refresh(root(today, yesterday));
  assert.deepEqual([today.firstChild.data, today.date.isHidden], ['1 hour ago / ', true]);
  assert.deepEqual([yesterday.firstChild.data, yesterday.date.isHidden], ['1 day ago / ', false]);
});

test('the time of a key event keeps its text, and only its date is hidden', () => {
  const item = new Line('2026-11-22T13:05:00Z');
  item.matches = () => false;
  new Times({ zone: 'UTC' }, () => NOW).refresh(root(item));
  assert.deepEqual([item.firstChild.data, item.date.isHidden], [undefined, true]);
});

test('the server corrects a wrong clock, and a beat without a time changes nothing', () => {
  const line = new Line('2026-11-22T13:05:00Z');
  const times = new Times({ zone: 'UTC' }, () => NOW + 3 * DAY);
  times.correct('2026-11-22T14:05:00.000Z');
  times.correct(null);
  times.refresh(root(line));
  assert.equal(line.firstChild.data, '1 hour ago / ');
});

test('times keep the text of the server when the browser does not know the zone', () => {
  const line = new Line('2026-11-22T13:05:00Z');
  new Times({ zone: 'Mars/Olympus' }, () => NOW).refresh(root(line));
  assert.equal(line.date.isHidden, false);
});

test('the times must be written again when the clock turns out to be wrong by over a second', () => {
  for (const [error_ms, isWrong] of /** @type {[number, boolean][]} */ ([
    [3 * HOUR, true],
    [-3 * HOUR, true],
    [1_001, true],
    [1_000, false],
    [0, false],
  ])) {
    const times = new Times({ zone: 'UTC' }, () => NOW + error_ms);
    const server_now = new Date(NOW).toISOString();
    assert.equal(times.correct(server_now), isWrong, `${error_ms}`);
    assert.equal(times.correct(server_now), false);
    for (const it of [null, undefined, '', 'noon']) assert.equal(times.correct(it), false);
  }
});

test("a reader has no zone of their own when the browser's zone is unknown or the blog's", () => {
  const { resolvedOptions } = Intl.DateTimeFormat.prototype;
  const differs = (/** @type {any} */ timeZone) => {
    Intl.DateTimeFormat.prototype.resolvedOptions = () => /** @type {any} */ ({ timeZone });
    return new Times({ zone: 'UTC' }, () => NOW).differs();
  };
  try {
    for (const zone of ['Etc/Unknown', 'Factory', '', undefined, 'UTC']) {
      assert.equal(differs(zone), false, zone);
    }
    assert.equal(differs('Asia/Tokyo'), true);
  } finally {
    Intl.DateTimeFormat.prototype.resolvedOptions = resolvedOptions;
  }
});
