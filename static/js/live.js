// Keeps an open page live. Rules: alone knows both the network's side (socket) and the page's.

import { Stream } from './socket.js';
import * as timelines from './timeline.js';
import { Times } from './time.js';
import { View, parseHtml, read } from './view.js';

/** @import {Reader, Urls} from './types.js' */

/**
 * @param {HTMLElement} main
 * @param {(root: Element) => void} [decorate] adds what needs a script
 * @param {(page: HTMLElement, held: string) => void} [startOver] told of a page that takes the
 *   place of what is held, and the position held
 */
export function follow(main, decorate = () => {}, startOver = () => {}) {
  const times = new Times(main.dataset, Date.now);
  const complete = (/** @type {Element} */ root) => {
    times.refresh(root);
    decorate(root);
  };
  const view = new View(main, complete, Date.now);
  decorate(main);
  times.keep(main, window);
  setInterval(() => view.tick(), 1_000);
  const stream = new Stream(reader(main, view, times, startOver), urls(main.dataset.blog), window);
  attend(stream);
  stream.start();
}

/**
 * @param {HTMLElement} main
 * @param {View} view
 * @param {Times} times
 * @param {(page: HTMLElement, held: string) => void} startOver
 * @returns {Reader}
 */
function reader(main, view, times, startOver) {
  let timeline = timelines.create(read(main));
  return {
    position: () => timeline.position,
    hasEnded: () => timelines.header(timeline)?.status === 'ended',
    take(frame) {
      const applied = timelines.apply(timeline, frame);
      timeline = applied.timeline;
      if (applied.outcome === 'applied') view.apply(applied);
      return applied.outcome;
    },
    replace(html, reset) {
      /** @type {HTMLElement | null} */
      const page = parseHtml(html).querySelector('main[data-blog]');
      const position = page?.dataset.position ?? '';
      if (!page || !timelines.isAcceptable(position, reset, timeline.position)) return false;
      startOver(page, timeline.position);
      timeline = timelines.create(read(page));
      view.replace(page);
      return true;
    },
    correctClock: (server_now) => times.correct(server_now),
    show: (state) => view.show(state),
  };
}

/** @param {string | undefined} slug @returns {Urls} */
function urls(slug) {
  const blog = `${location.origin}/blogs/${slug}`;
  return {
    live: (since) => `${blog.replace('http', 'ws')}/live?since=${since}`,
    events: (since) => `${blog}/events?since=${since}`,
    changes: (since) => `${blog}/changes?since=${since}`,
    page(at, isGone) {
      const url = new URL(isGone ? blog : location.href);
      url.searchParams.set('at', at);
      return url.href;
    },
  };
}

/** @param {Stream} stream */
function attend(stream) {
  addEventListener('pagehide', () => stream.sleep());
  addEventListener('pageshow', () => stream.wake());
  addEventListener('online', () => stream.online());
  addEventListener('offline', () => stream.offline());
  addEventListener('visibilitychange', () => document.hidden || stream.wake());
}
