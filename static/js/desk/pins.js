// The order of pinned entries: an editor drags an entry by its grip, presses an arrow key there, or
// presses one of the entry's buttons.
// Rules: the list is in the new order at once. When the server refuses, its own order comes back.

import { main, notify, one, stale } from './boxes.js';

const PIN_MS = 10_000;
/** One move is stored after another. @type {Promise<void>} */
let lastMove = Promise.resolve();

/** @param {Element} item */
const middleOf = (item) => {
  const { top, height } = item.getBoundingClientRect();
  return top + height / 2;
};

/**
 * Move an entry by one place. Its neighbour moves, so the entry keeps the focus and the pointer.
 *
 * @param {HTMLElement} item @param {number} by -1 for up, 1 for down
 */
function stepPin(item, by) {
  const { previousElementSibling: above, nextElementSibling: below } = item;
  if (by < 0 && above) item.after(above);
  if (by > 0 && below) item.before(below);
}

/** @param {HTMLElement} item */
const savePin = (item) => void (lastMove = lastMove.then(() => storePin(item)));

/** @param {HTMLElement} item */
async function storePin(item) {
  const next = /** @type {HTMLElement | null} */ (item.nextElementSibling);
  const answer = await fetch(`${location.pathname}/entries/${item.dataset.entry}/move`, {
    method: 'POST',
    headers: { Accept: 'application/json', 'Liveblog-Editor': main.dataset.editor ?? '' },
    body: new URLSearchParams({ before: next?.dataset.entry ?? '' }),
    signal: AbortSignal.timeout(PIN_MS),
  }).catch(() => null);
  const { reason } = (!answer?.ok && (await answer?.json().catch(() => null))) || {};
  notify(answer?.ok ? 'Moved.' : (reason ?? 'The entry was not moved. Try again.'));
  stale();
}

/** @param {PointerEvent} event */
function dragPin(event) {
  const grip = /** @type {Element} */ (event.target).closest('.grip');
  const item = /** @type {HTMLElement | null} */ (grip?.closest('li') ?? null);
  if (!grip || !item || event.button) return;
  const before = item.nextElementSibling;
  const dragging = new AbortController();
  const { signal } = dragging;
  const on = (/** @type {string[]} */ kinds, /** @type {(event: any) => void} */ listen) =>
    kinds.forEach((kind) => grip.addEventListener(kind, listen, { signal }));
  grip.setPointerCapture(event.pointerId);
  on(['pointermove'], ({ clientY }) => {
    const { previousElementSibling: above, nextElementSibling: below } = item;
    if (above && clientY < middleOf(above)) stepPin(item, -1);
    else if (below && clientY > middleOf(below)) stepPin(item, 1);
  });
  on(['pointerup', 'pointercancel'], () => {
    dragging.abort();
    if (item.nextElementSibling !== before) savePin(item);
  });
}

/** @param {Event} event @param {number} by */
function movePin(event, by) {
  const item = /** @type {Element} */ (event.target).closest('li');
  if (!item || !by) return;
  event.preventDefault();
  stepPin(item, by);
  savePin(item);
}

export function startPins() {
  const list = /** @type {HTMLElement | null} */ (one('#pins'));
  list?.addEventListener('pointerdown', dragPin);
  list?.addEventListener('keydown', (event) => {
    const isGrip = /** @type {Element} */ (event.target).matches('.grip');
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
    if (isGrip) movePin(event, by);
  });
  list?.addEventListener('submit', (event) => {
    movePin(event, Number(/** @type {HTMLElement} */ (event.target).dataset.step));
  });
}
