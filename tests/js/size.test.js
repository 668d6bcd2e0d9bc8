// The styles that a reader's browser loads stay small. tests/integration/test_wheel.py measures the
// scripts, because the server joins them and leaves out the comments.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

const STYLES_BYTES_MAX = 6 * 1024;

/** @param {string[]} files @returns {number} bytes sent, each file compressed separately */
const weigh = (files) =>
  files
    .map((file) => readFileSync(new URL(`../../static/${file}`, import.meta.url)))
    .reduce((sum, bytes) => sum + gzipSync(bytes, { level: 9 }).length, 0);

test('the styles of a page are at most 6 KiB compressed', () => {
  const bytes = weigh(['css/tokens.css', 'css/page.css', 'css/reader.css']);
  assert.ok(bytes <= STYLES_BYTES_MAX, `${bytes} bytes`);
});
