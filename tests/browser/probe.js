// Measures, inside the page, what the browser paints and when. Runs before the page's own scripts
// and defines `window.probe`. "Frame" means a painted image here. Uses only documented markup:
// main[data-position] and [role=feed] article[id].

(() => {
  const POSITION = 'data-position';

  // This listener runs before the page's own. It only compares a prefix, since parsing the message
  // would delay the page.
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.addEventListener('message', ({ data }) => {
        if (waiting && data.startsWith('{"t":"changes"')) arrive();
      });
    }
  };

  let waiting = null; // {arrived_ms} while `painted` waits

  function arrive() {
    waiting.arrived_ms ??= performance.now();
    performance.mark('arrived');
  }

  /**
   * Wait until the next message with changes adds an article. Resolve to the milliseconds from the
   * arrival of the message to the painted article; null when the article is out of sight.
   *
   * A ResizeObserver calls back while the browser renders the first frame with its target. A message
   * posted then arrives after that frame is painted. requestAnimationFrame would be one frame late,
   * when the page itself makes its changes in such a callback.
   */
  function painted() {
    const { promise, resolve } = Promise.withResolvers();
    waiting = { arrived_ms: undefined };
    const rendered = new ResizeObserver(([{ target }]) => {
      rendered.disconnect();
      soon(() => resolve(report(target)));
    });
    const added = new MutationObserver((records) => {
      const nodes = records.flatMap((it) => [...it.addedNodes]);
      const article = nodes.find((it) => it.matches?.('article[id]'));
      if (!article || waiting.arrived_ms === undefined) return;
      added.disconnect();
      rendered.observe(article);
    });
    added.observe(document.querySelector('[role=feed]'), { childList: true });
    return promise;
  }

  function report(article) {
    const took_ms = performance.now() - waiting.arrived_ms;
    performance.mark('painted');
    performance.clearMarks();
    waiting = null;
    const { top, bottom } = article.getBoundingClientRect();
    return top < innerHeight && bottom > 0 ? took_ms : null;
  }

  /** Call back in a new task of the event loop, without the minimum delay of a timer. */
  function soon(callback) {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = callback;
    port2.postMessage(null);
  }

  /** Resolve when the page's position has reached this offset and two more frames were painted. */
  async function reached(offset) {
    const { promise, resolve } = Promise.withResolvers();
    const look = () => {
      const main = document.querySelector(`main[${POSITION}]`);
      if (Number(main.getAttribute(POSITION).split('.')[1]) >= offset) resolve();
    };
    const observer = new MutationObserver(look);
    observer.observe(document, { subtree: true, attributeFilter: [POSITION] });
    look();
    await promise;
    observer.disconnect();
    await frames(2);
  }

  /** Resolve after the n-th painted frame from now. */
  async function frames(n) {
    for (; n > 0; n -= 1) await new Promise(requestAnimationFrame);
    await new Promise(soon);
  }

  const shifts = []; // [milliseconds, value] each

  /** Collect layout shifts, also those before this call: the browser buffers the first 150. */
  function watchShifts() {
    const note = (list) => {
      for (const it of list.getEntries()) {
        if (!it.hadRecentInput) shifts.push([it.startTime, it.value]);
      }
    };
    new PerformanceObserver(note).observe({ type: 'layout-shift', buffered: true });
  }

  const articles = () => [...document.querySelectorAll('[role=feed] article[id]')];

  /** Scroll so that the n-th article of the feed is in the middle of the window. */
  async function read(n) {
    articles()[n].scrollIntoView({ block: 'center', behavior: 'instant' });
    await frames(3);
  }

  /** @returns {string[]} ids of articles that end above a line `line_px` below the window's top */
  const above = (line_px = 0) =>
    articles().filter((it) => it.getBoundingClientRect().bottom <= line_px).map((it) => it.id);

  /** @returns {string[]} the ids of visible articles above the one in the middle of the window */
  function aboveInSight() {
    const { id } = paragraph();
    const { top } = document.getElementById(id).getBoundingClientRect();
    return above(top).slice(above().length);
  }

  /** Return the paragraph nearest to the window's middle: its article's id and its index there. */
  function paragraph() {
    const middle = (node) => {
      const { top, bottom } = node.getBoundingClientRect();
      return Math.abs((top + bottom - innerHeight) / 2);
    };
    const all = articles().flatMap((article) =>
      [...article.querySelectorAll('p')].map((node, i) => ({ id: article.id, i, node })));
    const texts = all.filter(({ node }) => node.textContent.trim().length > 60);
    return texts.reduce((best, it) => (middle(it.node) < middle(best.node) ? it : best));
  }

  let held = null;

  /**
   * Record the place of the paragraph in the middle of the window, in every frame from now on.
   *
   * Each frame observes the paragraph again: an IntersectionObserver reports places as the frame is
   * rendered, after the page and the browser have corrected the scroll position. Resolves when the
   * first place is recorded.
   */
  async function hold() {
    const { id, i } = paragraph();
    const node = () => document.getElementById(id)?.querySelectorAll('p')[i];
    const tops = [];
    const observer = new IntersectionObserver((all) => tops.push(...all.map(topOf)));
    const observe = () => {
      observer.disconnect();
      const target = node();
      if (target) observer.observe(target);
      else tops.push(Infinity); // the paragraph was removed
      held.request = requestAnimationFrame(observe);
    };
    held = { tops, observer, request: requestAnimationFrame(observe) };
    while (!tops.length) await frames(1);
  }

  const topOf = ({ boundingClientRect }) => boundingClientRect.top;

  /**
   * Stop recording. tests/kit/painting.py, Movement, explains the result.
   *
   * @returns {{frames: number, moved_px: number, jump_px: number}}
   */
  function release() {
    const { tops, observer, request } = held;
    cancelAnimationFrame(request);
    observer.disconnect();
    const most = (from) => Math.max(...tops.map((top, n) => Math.abs(top - from(n))));
    return {
      frames: tops.length,
      moved_px: most(() => tops[0]),
      jump_px: most((n) => tops[Math.max(n - 1, 0)]),
    };
  }

  /** Turn off the browser's scroll anchoring: the page's script must keep the reader's place. */
  function withoutAnchoring() {
    const sheet = new CSSStyleSheet(); // the page's policy allows this
    sheet.replaceSync('* { overflow-anchor: none !important }');
    document.adoptedStyleSheets.push(sheet);
  }

  window.probe = {
    above, aboveInSight, frames, hold, painted, reached, read, release, shifts, watchShifts, withoutAnchoring,
  };
})();
