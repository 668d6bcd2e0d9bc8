// The order of pinned entries: an editor drags an entry by its grip, or presses an arrow key there.
// Rules: a move sends the form of one of the entry's buttons, with another place. The list is in
// the new order at once, and in the server's order after its answer.

import { one, sayFailure } from './boxes.js';

/** @type {(form: HTMLFormElement) => Promise<void>} sends the form of a button */
let send;
/** The moves, one after the other. */
let moves = Promise.resolve();
let begun = 0;
let ended = 0;

/** A page that was fetched during a move may have the order before it: then this value differs. */
export const orderOfPins = () => (begun === ended ? ended : NaN);

/** @param {Element | null} item @param {number} otherwise */
const middleOf = (item, otherwise) => {
  const { top, height } = item?.getBoundingClientRect() ?? { top: otherwise, height: 0 };
  return top + height / 2;
};

/**
 * Move an entry by one place. Its neighbour moves, so the entry keeps the focus and the pointer.
 *
 * @param {Element} item @param {number} by -1 for up, 1 for down
 */
function stepPin(item, by) {
  const { previousElementSibling: above, nextElementSibling: below } = item;
  if (by < 0 && above) item.after(above);
  if (by > 0 && below) item.before(below);
}

/** Store where an entry is now, after the moves before it. @param {Element} item */
function storePin(item) {
  const place = item.nextElementSibling?.getAttribute('data-entry') ?? '';
  const move = async () => {
    const form = one(`#${item.id} form`);
    if (!form) return; // a colleague has unpinned the entry
    form.elements.before.value = place;
    await send(form);
  };
  begun += 1;
  moves = moves
    .then(move)
    .catch(sayFailure)
    .finally(() => (ended += 1));
}

/** @param {PointerEvent} event */
function dragPin(event) {
  const grip = /** @type {Element} */ (event.target).closest('.grip');
  const item = grip?.closest('li');
  if (!grip || !item || event.button) return;
  const before = item.nextElementSibling;
  const dragging = new AbortController();
  const { signal } = dragging;
  grip.setPointerCapture(event.pointerId);
  const follow = (/** @type {any} */ { clientY }) => {
    while (clientY < middleOf(item.previousElementSibling, -Infinity)) stepPin(item, -1);
    while (clientY > middleOf(item.nextElementSibling, Infinity)) stepPin(item, 1);
  };
  const stop = () => {
    dragging.abort();
    if (item.nextElementSibling !== before) storePin(item);
  };
  grip.addEventListener('pointermove', follow, { signal });
  for (const kind of ['pointerup', 'pointercancel'])
    grip.addEventListener(kind, stop, { signal });
}

/** @param {KeyboardEvent} event */
function onPinKey(event) {
  const grip = /** @type {Element} */ (event.target).closest('.grip');
  const item = grip?.closest('li');
  const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!item || !by) return;
  event.preventDefault();
  const before = item.nextElementSibling;
  stepPin(item, by);
  if (item.nextElementSibling !== before) storePin(item);
}

/** @param {typeof send} sending */
export function watchPins(sending) {
  send = sending;
  one('#pins')?.addEventListener('pointerdown', dragPin);
  one('#pins')?.addEventListener('keydown', onPinKey);
}
