// Modules, classes and functions of the scripts stay small.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const ROOT = new URL('../../static/js/', import.meta.url);
const FILES = readdirSync(ROOT, { recursive: true, encoding: 'utf-8' }).filter((it) => it.endsWith('.js'));
const HEAD = /^( *)(?:export )?(?:const \w+ = |this\.\w+ = )?(?:async |get |set )*(?:function )?[#\w]*\(.*\) (?:=> )?\{$/;
const NO_HEAD = /^ *(?:if|for|while|switch|catch) /;

/** @param {string} name */
const linesOf = (name) => readFileSync(new URL(name, ROOT), 'utf-8').trimEnd().split('\n');

/** @param {string[]} lines @param {number} at @param {string} indent @returns the block's line count */
const lengthOf = (lines, at, indent) =>
  lines.slice(at).findIndex((it) => it.startsWith(`${indent}}`)) + 1;

/** @param {string} name @returns {{name: string, length: number}[]} the functions of a module */
function functionsOf(name) {
  const lines = linesOf(name);
  return lines.flatMap((line, i) => {
    if (/^(?:export )?const \w+ = .*=> [^{]*$/.test(line)) return [{ name: line, length: 1 }];
    const head = !NO_HEAD.test(line) && HEAD.exec(line);
    return head ? [{ name: `${name}:${i + 1}`, length: lengthOf(lines, i, head[1]) }] : [];
  });
}

test('a module has at most 450 lines', () => {
  for (const name of FILES) assert.ok(linesOf(name).length <= 450, name);
});

test('a class has at most 20 methods', (t) => {
  let most = 0;
  for (const name of FILES) {
    const lines = linesOf(name);
    for (const [i, line] of lines.entries()) {
      if (!/^export class /.test(line)) continue;
      const body = lines.slice(i, i + lengthOf(lines, i, ''));
      const methods = body.filter((it) => /^ {2}\S/.test(it) && HEAD.test(it) && !NO_HEAD.test(it));
      assert.ok(methods.length <= 20, `${line} ${methods.length}`);
      most = Math.max(most, methods.length);
    }
  }
  t.diagnostic(`${most} methods at most`);
  assert.ok(most > 9, 'the pattern finds too few methods');
});

test('functions have at most 7 lines in the median, 16 at the 90th percentile and 45 at most', (t) => {
  const all = FILES.flatMap(functionsOf).sort((a, b) => a.length - b.length);
  const at = (/** @type {number} */ share) => all[Math.floor((all.length - 1) * share)];
  t.diagnostic(`${all.length} functions: ${at(0.5).length}, ${at(0.9).length}, ${at(1).length}`);
  assert.ok(all.length > 200, 'the pattern finds too few functions');
  assert.ok(at(0.5).length <= 7);
  assert.ok(at(0.9).length <= 16);
  assert.ok(at(1).length <= 45, at(1).name);
});

test('no module imports itself through others', () => {
  /** @param {string} name @param {string[]} path */
  const walk = (name, path) => {
    assert.ok(!path.includes(name), [...path, name].join(' -> '));
    const imports = linesOf(name).join('\n').matchAll(/^(?:import .*|\}) from '(.+)';$/gm);
    for (const [, other] of imports) {
      walk(new URL(other, `file:///${name}`).pathname.slice(1), [...path, name]);
    }
  };
  for (const name of FILES) walk(name, []);
});

test('only two modules fetch: they answer also when a request fails or breaks off', () => {
  const found = FILES.filter((name) => linesOf(name).some((line) => /(?<!#)\bfetch\(/.test(line)));
  assert.deepEqual(found.sort(), ['answer.js', 'desk/send.js']);
});
