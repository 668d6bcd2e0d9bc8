// What only the page itself can see of its frames. Runs before the page's own scripts and gives them
// `window.probe`. Relies on no markup but the contract's: main[data-position], [role=feed] article[id].

(() => {
  const POSITION = 'data-position';

  // A listener of the constructor's comes before any the page adds. Own work in it is a comparison.
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.addEventListener('message', ({ data }) => {
        if (waiting && data.startsWith('{"t":"changes"')) arrive();
      });
    }
  };

  let waiting = null; // {arrived_ms}, while `painted` waits

  function arrive() {
    waiting.arrived_ms ??= performance.now();
    performance.mark('arrived');
  }

  /**
   * Resolves to the milliseconds from the next changes frame's arrival to the painted article, null
   * when it is out of sight.
   *
   * A ResizeObserver calls back while the first frame with its target is rendered, and a message
   * posted then comes after that frame is painted. requestAnimationFrame would not do: when the page
   * itself changes things in one, it calls back a frame late.
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

  /** Call back in a task of its own, which no timer holds back. */
  function soon(callback) {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = callback;
    port2.postMessage(null);
  }

  /** Resolves once the page's position has this offset and two more frames were rendered. */
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

  /** Resolves in a task after the n-th frame from now. */
  async function frames(n) {
    for (; n > 0; n -= 1) await new Promise(requestAnimationFrame);
    await new Promise(soon);
  }

  const shifts = []; // [milliseconds, value] each

  /** Collect layout shifts, also those before now (the browser keeps the first 150). */
  function watchShifts() {
    const note = (list) => {
      for (const it of list.getEntries()) {
        if (!it.hadRecentInput) shifts.push([it.startTime, it.value]);
      }
    };
    new PerformanceObserver(note).observe({ type: 'layout-shift', buffered: true });
  }

  const articles = () => [...document.querySelectorAll('[role=feed] article[id]')];

  /** Scroll so that the n-th article of the feed is in the middle. */
  async function read(n) {
    articles()[n].scrollIntoView({ block: 'center', behavior: 'instant' });
    await frames(3);
  }

  /** @returns {string[]} the ids of articles wholly above a line of the viewport, from the top */
  const above = (line_px = 0) =>
    articles().filter((it) => it.getBoundingClientRect().bottom <= line_px).map((it) => it.id);

  /** @returns {string[]} the ids of those between what is out of sight and what is read */
  function aboveInSight() {
    const { id } = paragraph();
    const { top } = document.getElementById(id).getBoundingClientRect();
    return above(top).slice(above().length);
  }

  /** Where to find the paragraph nearest to the middle again: its article's id, and which of its. */
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
   * Begin to note where the paragraph in the middle is in every rendered frame.
   *
   * In each frame it is observed anew, since an IntersectionObserver reports where things are when
   * the frame is rendered: after all the page's corrections, and the browser's own. Resolves once its
   * first place is noted.
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
      else tops.push(Infinity); // what was read is gone
      held.request = requestAnimationFrame(observe);
    };
    held = { tops, observer, request: requestAnimationFrame(observe) };
    while (!tops.length) await frames(1);
  }

  const topOf = ({ boundingClientRect }) => boundingClientRect.top;

  /** End it. @returns {{frames: number, moved_px: number, jump_px: number}} see painting.Movement */
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

  /** Take the browser's own anchoring away, as one without it would show the page. */
  function withoutAnchoring() {
    const sheet = new CSSStyleSheet(); // the policy has nothing against it
    sheet.replaceSync('* { overflow-anchor: none !important }');
    document.adoptedStyleSheets.push(sheet);
  }

  window.probe = {
    above, aboveInSight, frames, hold, painted, reached, read, release, shifts, watchShifts, withoutAnchoring,
  };
})();
