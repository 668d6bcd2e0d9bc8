// The reader's page: live, with sharing, and with the linked entry in sight.

import { follow } from './live.js';

const COPIED_MS = 2_000;

/** Without a clipboard (plain http) the link is followed. @param {MouseEvent} event */
function share(event) {
  /** @type {HTMLAnchorElement | null} */
  const link = /** @type {Element} */ (event.target).closest('a[data-share]');
  if (!link || !navigator.clipboard) return;
  event.preventDefault();
  const shared = navigator.share ? navigator.share({ url: link.href }) : copy(link);
  shared.catch(() => {}); // the reader thought better of it
}

/** @param {HTMLAnchorElement} link */
async function copy(link) {
  await navigator.clipboard.writeText(link.href);
  const text = link.textContent;
  link.textContent = 'Link copied';
  setTimeout(() => (link.textContent = text), COPIED_MS);
}

/** @param {string} id */
function showLinked(id) {
  const article = document.getElementById(id);
  const [{ type }] = /** @type {any} */ (performance.getEntriesByType('navigation'));
  article?.classList.add('linked');
  // Else the browser goes back to where this reader was.
  if (type === 'navigate') article?.scrollIntoView();
}

const main = /** @type {HTMLElement | null} */ (document.querySelector('main[data-blog]'));
if (main) follow(main);
if (main?.dataset.permalink) showLinked(main.dataset.permalink);
document.addEventListener('click', share);
