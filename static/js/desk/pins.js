// Moves pinned entries: by dragging, and by the buttons Up and Down without loading the page again.
// Rules: the server makes the order; the list always shows the server's.

import { notify, one, slug } from './boxes.js';
import { morph, parseHtml } from '../morph.js';

const MOVE_MS = 10_000;
const PIN = '#pins li[draggable]';
const NOT_MOVED = 'The entry may not have been moved. Try again.';

/** The item that is being dragged. @type {HTMLElement | null} */
let draggedPin = null;

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
const pinAt = (target) => (target instanceof Element ? target.closest(PIN) : null);

/**
 * Return the id of the entry before which an item is dropped; '' for the end of the list.
 *
 * @param {HTMLElement} item under the pointer @param {number} y the pointer's height
 */
function placeBefore(item, y) {
  const { top, height } = item.getBoundingClientRect();
  const next = y < top + height / 2 ? item : item.nextElementSibling;
  const after = next === draggedPin ? next?.nextElementSibling : next;
  return after?.getAttribute('data-entry') ?? '';
}

/** @param {string} id of the entry @param {string} place the entry below its new place, or '' */
async function askToMove(id, place) {
  const answer = await fetch(`/desk/blogs/${slug}/entries/${id}/move`, {
    method: 'POST',
    body: new URLSearchParams({ before: place }),
    signal: AbortSignal.timeout(MOVE_MS),
  });
  // The answer is the desk's page, or the page of a problem.
  const page = parseHtml(await answer.text());
  const list = answer.ok && page.querySelector('#pins');
  if (!list) return notify(page.querySelector('[role=alert]')?.textContent ?? NOT_MOVED);
  morph(one('#pins'), list);
  notify('Moved.');
}

/** @param {string} id @param {string} place @param {string} [button] the text of the pressed one */
function movePin(id, place, button) {
  askToMove(id, place)
    .catch(() => notify(NOT_MOVED))
    .finally(() => {
      if (!button) return;
      const buttons = /** @type {HTMLElement[]} */ ([
        ...document.querySelectorAll(`#pin-${id} button`),
      ]);
      (buttons.find((it) => it.textContent === button) ?? buttons[0])?.focus();
    });
}

/** @param {SubmitEvent} event */
function pressPin(event) {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const id = pinAt(form)?.dataset.entry;
  if (!id) return;
  event.preventDefault();
  movePin(id, one('[name=before]', form).value, event.submitter?.textContent ?? '');
}

/** @param {DragEvent} event */
function dropPin(event) {
  const [item, id] = [pinAt(event.target), draggedPin?.dataset.entry];
  if (!item || !id) return;
  event.preventDefault();
  if (item !== draggedPin) movePin(id, placeBefore(item, event.clientY));
}

export function watchPins() {
  document.addEventListener('submit', pressPin);
  document.addEventListener('dragstart', ({ target }) => (draggedPin = pinAt(target)));
  document.addEventListener('dragend', () => (draggedPin = null));
  document.addEventListener('dragover', (event) => {
    if (draggedPin && pinAt(event.target)) event.preventDefault(); // this is where it may be dropped
  });
  document.addEventListener('drop', dropPin);
}
