// The reader's page: live, with sharing, and with the linked entry in sight.

import { follow } from './live.js';

const COPIED_MS = 2_000;

/**
 * Offer an entry's link to the device, or copy it. Where neither is possible (plain http) the link
 * is followed: its page is what a reader wants to share.
 *
 * @param {MouseEvent} event
 */
async function share(event) {
  /** @type {HTMLAnchorElement | null} */
  const link = /** @type {Element} */ (event.target).closest('a[data-share]');
  if (!link || !navigator.clipboard) return;
  event.preventDefault();
  try {
    if (navigator.share) await navigator.share({ url: link.href });
    else await copy(link);
  } catch {
    // The reader thought better of it, or forbids it.
  }
}

/** @param {HTMLAnchorElement} link */
async function copy(link) {
  await navigator.clipboard.writeText(link.href);
  const text = link.textContent;
  link.textContent = 'Link copied';
  setTimeout(() => (link.textContent = text), COPIED_MS);
}

/** @param {string} id of the entry that the address names */
function showLinked(id) {
  const article = document.getElementById(id);
  const [{ type }] = /** @type {any} */ (performance.getEntriesByType('navigation'));
  article?.classList.add('linked');
  // On a reload or return the browser has a better place for this reader: the one that was left.
  if (type === 'navigate') article?.scrollIntoView();
}

const main = /** @type {HTMLElement | null} */ (document.querySelector('main[data-blog]'));
if (main) follow(main);
if (main?.dataset.permalink) showLinked(main.dataset.permalink);
document.addEventListener('click', share);
