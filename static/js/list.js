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
 * Insert an entry into a list that is sorted by first publication. When the list already has the
 * entry's id, update that entry in place.
 *
 * @param {Element} list @param {Element} node @param {boolean} [isUp] true: the oldest entry first
 */
export function place(list, node, isUp) {
  const old = find(list, idOf(node));
  if (old) {
    keepOwn(old, node);
    return morph(old, node);
  }
  const order = orderOf(node);
  let next = list.firstElementChild;
  while (next && orderOf(next) > order === !isUp) next = next.nextElementSibling;
  list.insertBefore(node, next);
}

/** @param {Element} old @param {Element} node */
function keepOwn(old, node) {
  for (const name of OWN) {
    const value = old.getAttribute(name);
    if (value !== null) node.setAttribute(name, value);
  }
}

/** @param {Element} node */
function pinOf(node) {
  const number = node.getAttribute('data-pin-order');
  return { pin_order: number === null ? null : Number(number), order: orderOf(node) };
}

/**
 * Insert or update a copy in the list of pinned entries, at its place by `comparePins`. All other
 * nodes stay: a moved video stops.
 *
 * @param {Element} list @param {Element} node
 */
export function placePin(list, node) {
  const id = idOf(node);
  place(list, node);
  const own = /** @type {HTMLElement} */ (find(list, id));
  const next = [...list.children].find((it) => it !== own && comparePins(pinOf(own), pinOf(it)) < 0);
  if (own.nextElementSibling !== (next ?? null)) list.insertBefore(own, next ?? null);
}

/**
 * Make a list contain exactly these entries, in this order.
 *
 * @param {Element} list @param {Element[]} nodes
 */
export function fill(list, nodes) {
  const ids = nodes.map(idOf);
  for (const old of [...list.children]) if (!ids.includes(idOf(old))) old.remove();
  for (const node of nodes) place(list, node);
  ids.forEach((id, i) => {
    const node = find(list, id);
    if (node && node !== list.children[i]) list.insertBefore(node, list.children[i]);
  });
}

/**
 * Insert or edit an entry of a list; without a node, remove the entry.
 *
 * @param {Element} list @param {string} id @param {Element | null | undefined | false} node
 * @param {(list: Element, node: Element) => void} [placing] puts the node at its place
 */
export function mark(list, id, node, placing = place) {
  if (node) placing(list, node);
  else find(list, id)?.remove();
}
