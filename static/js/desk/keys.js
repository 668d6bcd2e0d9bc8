// The list of keys and marks, which `?` opens outside of boxes; and the keyboard of a phone.

import { one } from './boxes.js';
import { IS_MAC } from './toolbar.js';

const list = one('#help');

/** @param {KeyboardEvent} event */
function onHelpKey(event) {
  const place = /** @type {HTMLElement} */ (event.target);
  if (event.key !== '?' || place.closest('input:not([type=checkbox]), textarea, select')) return;
  if (document.querySelector('dialog[open]')) return; // it keeps the list inert
  event.preventDefault();
  list.togglePopover();
}

/** Tell the styles how much of the page a phone's keyboard covers: iOS does not resize the page. */
function measureKeyboard() {
  const { height, offsetTop, scale } = /** @type {VisualViewport} */ (visualViewport);
  const covered_px = scale === 1 ? Math.max(0, Math.round(innerHeight - height - offsetTop)) : 0;
  document.documentElement.style.setProperty('--keyboard', `${covered_px}px`);
}

export function startKeys() {
  if (!list) return;
  for (const kind of ['resize', 'scroll']) visualViewport?.addEventListener(kind, measureKeyboard);
  // An old browser has no popovers: it shows the list at the end of the page.
  if (list.togglePopover) document.addEventListener('keydown', onHelpKey);
  for (const key of IS_MAC ? list.querySelectorAll('kbd') : [])
    key.textContent = key.textContent.replace('Ctrl', '⌘');
}
