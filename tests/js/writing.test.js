// The desk's form for an entry: marks and pastes in its text, and its words about a time.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { atTime } from '../../static/js/desk/dates.js';
import { marked, movedTo } from '../../static/js/desk/marking.js';

/** @import {Mark} from '../../static/js/desk/marking.js' */

/**
 * Apply a mark to a text whose selection is written in braces; return the same form.
 *
 * @param {string} text @param {Mark} mark
 */
function press(text, mark) {
  const [start, end] = [text.indexOf('{'), text.indexOf('}') - 1];
  const value = text.replace(/[{}]/g, '');
  const step = marked(value, start, end, mark);
  const now = value.slice(0, step.start) + step.text + value.slice(step.end);
  return `${now.slice(0, step.from)}{${now.slice(step.from, step.to)}}${now.slice(step.to)}`;
}

/** @type {[string, Mark, string][]} */
const STEPS = [
  ['We {have} it', 'bold', 'We **{have}** it'],
  ['We **{have}** it', 'bold', 'We {have} it'],
  ['We {**have**} it', 'bold', 'We {have} it'],
  ['We *{have}* it', 'bold', 'We **{*have*}** it'],
  ['We ***{have}*** it', 'italic', 'We {**have**} it'],
  ['We {have }it', 'italic', 'We *{have}* it'],
  ['Ein {fett}druck', 'bold', 'Ein **{fettdruck}**'],
  ['これは重{要}です', 'bold', 'これは重**{要}**です'],
  ['Das »{Wort}« da', 'bold', 'Das »**{Wort}**« da'],
  ['We {}', 'bold', 'We **{}**'],
  ['We **{}**', 'bold', 'We {}'],
  ['{One\n\n- Two}', 'bold', '{**One**\n\n- **Two**}'],
  ['{**One**\n\n- **Two**}', 'bold', '{One\n\n- Two}'],
  ['See {the page}.', 'link', 'See [the page]({https://}).'],
  ['{https://a.example/b}', 'link', '[{}](https://a.example/b)'],
  ['One{ word }next', 'link', 'One [word]({https://}) next'],
  ['{https://a.example }next', 'link', '[{}](https://a.example) next'],
  ['One{  }', 'link', 'One  [{}](https://)'],
  ['We {have }it', 'link', 'We [have]({https://}) it'],
  ['See{ www.a.example }now', 'link', 'See [{}](www.a.example) now'],
  ['See{ }it', 'link', 'See [{}](https://)it'],
  ['See {}', 'link', 'See [{}](https://)'],
  ['One\nTw{}o', 'quote', 'One\n> Two{}'],
  ['{One\n\nTwo}', 'list', '{- One\n\n- Two}'],
  ['{- One\n- Two}', 'list', '{One\nTwo}'],
  ['One\n{}', 'list', 'One\n- {}'],
];

for (const [before, mark, after] of STEPS) {
  test(`${mark} makes ${JSON.stringify(after)} of ${JSON.stringify(before)}`, () => {
    assert.equal(press(before, mark), after);
  });
}

test('a pasted text is found after an editor typed before or behind it', () => {
  const before = 'One paste two';
  assert.equal(movedTo(before, 'One paste two three', 4, 9), 4);
  assert.equal(movedTo(before, 'Zero. One paste two', 4, 9), 10);
  assert.equal(movedTo(before, 'Zero. One paste two three', 4, 9), 10);
});

test('a pasted text is not found when an editor changed it', () => {
  assert.equal(movedTo('One paste two', 'One past two', 4, 9), -1);
  assert.equal(movedTo('a a', 'b a a b a', 0, 1), -1);
});

test('a time is said without its date when that is today in the zone of the blog', () => {
  const now = Date.parse('2026-11-04T02:00:00Z'); // still November 3 in New York
  assert.equal(atTime('2026-11-03T21:30', 'America/New_York', now), '21:30');
  assert.equal(atTime('2026-11-03T21:30', 'Europe/Berlin', now), '3 Nov, 21:30');
  assert.equal(atTime('2026-11-03T21:30', 'No/Zone', now), '3 Nov, 21:30');
  assert.equal(atTime('2027-01-03T21:30', 'UTC', now), '3 Jan 2027, 21:30');
});
