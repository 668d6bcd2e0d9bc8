// Renders three lists of entries: the feed, the copies of pinned entries, and the key events (the
// entries that editors marked as important). `order`, the offset of first publication, sorts the
// feed and the key events; `pin_order` sorts the copies.
// Rules: rendering is idempotent. An edit keeps the attributes that a script has set (OWN).

import { idOf, morph } from './morph.js';
import { comparePins } from './timeline.js';

const OWN = ['class', 'hidden', 'tabindex', 'data-unread', 'data-day'];

/** @param {Element} node */
export const orderOf = (node) => Number(node.getAttribute('data-order'));

/** @param {Element} list @param {any} id @returns {HTMLElement | null} */
export function find(list, id) {
  const node = document.getElementById(id);
  return node?.parentElement === list ? node : list.querySelector(`:scope > [data-entry="${id}"]`);
}

/**
 * Return the numbers that sort an entry in its list. Only copies, which have no id, are sorted by
 * `pin_order`. The numbers are strings, which `comparePins` subtracts as numbers.
 *
 * @param {any} node
 */
const pinOf = ({ id, dataset: { pinOrder, order } }) => ({ pin_order: id ? null : pinOrder, order });

/**
 * Insert an entry into a list that is sorted by `comparePins`: by first publication, the copies of
 * pinned entries by `pin_order` first. When the list already has the entry's id, update that entry
 * in place, and move it only when its `pin_order` has changed.
 *
 * @param {Element} list @param {Element} node @param {boolean} [isUp] true: the oldest entry first
 */
export function place(list, node, isUp) {
  const old = find(list, idOf(node));
  const pin = pinOf(node);
  if (old) {
    const was = pinOf(old).pin_order;
    for (const name of OWN) {
      const value = old.getAttribute(name);
      if (value !== null) node.setAttribute(name, value);
    }
    morph(old, node);
    if (was === pin.pin_order) return;
    (node = old).remove();
  }
  let next = list.firstElementChild;
  while (next && comparePins(pinOf(next), pin) < 0 === !isUp) next = next.nextElementSibling;
  list.insertBefore(node, next);
}
