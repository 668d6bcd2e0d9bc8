// The choice of the next transport after a failure: WebSocket, Server-Sent Events or polling.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EVENTS, POLLING, Transports, WEBSOCKET } from '../../static/js/transports.js';

test('each transport is tried once, at once, while none has worked', () => {
  const transports = new Transports();
  const tried = [transports.current];
  while (transports.failed()) tried.push(transports.current);
  assert.deepEqual(tried, [WEBSOCKET, EVENTS, POLLING]);
  assert.equal(transports.current, WEBSOCKET);
});

test('a transport that has worked gets six tries, another one two', () => {
  const transports = new Transports();
  transports.worked();
  const tried = Array.from({ length: 8 }, () => (transports.failed(), transports.current));
  assert.deepEqual(tried, [...Array(5).fill(WEBSOCKET), EVENTS, EVENTS, POLLING]);
});

test('a refused transport is tried once, also when it has worked', () => {
  const transports = new Transports();
  transports.worked();
  assert.equal(transports.failed(false, true), true);
  assert.equal(transports.current, EVENTS);
});

test('a short try does not count against a transport that has worked', () => {
  const transports = new Transports();
  assert.equal(transports.failed(true), true);
  transports.worked();
  for (let tries = 0; tries < 9; tries += 1) assert.equal(transports.failed(true), false);
  assert.equal(transports.current, EVENTS);
});

test('every twelfth poll the better transports are tried again, once each', () => {
  const transports = new Transports();
  while (transports.current !== POLLING) transports.failed();
  for (let polls = 1; polls < 12; polls += 1) {
    transports.polled();
    assert.equal(transports.isProbing, false);
  }
  transports.polled();
  assert.deepEqual([transports.isProbing, transports.current], [true, WEBSOCKET]);
  transports.failed();
  transports.failed();
  assert.deepEqual([transports.isProbing, transports.current], [true, POLLING]);
  transports.failed();
  assert.equal(transports.isProbing, false);
});

test('on another network the best transport is tried again', () => {
  const transports = new Transports();
  transports.failed();
  transports.restart();
  assert.equal(transports.current, WEBSOCKET);
});
