// The reader's page: live, with sharing, and with the linked entry in sight.

import { follow } from './live.js';

const COPIED_MS = 2_000;

/** In the line of the time, so that nothing moves. @param {Element} root */
function offerSharing(root) {
  for (const link of root.querySelectorAll('p.when > a')) {
    const share = /** @type {any} */ (link.cloneNode());
    share.dataset.share = '';
    share.textContent = 'Share';
    link.after(share);
  }
}

/** Without a clipboard (plain http) the link is followed. @param {any} event */
function share(event) {
  const link = event.target.closest('[data-share]');
  if (!link || !navigator.clipboard) return;
  event.preventDefault();
  const shared = navigator.share ? navigator.share({ url: link.href }) : copy(link);
  shared.catch(() => {}); // the reader thought better of it
}

/** @param {any} link */
async function copy(link) {
  await navigator.clipboard.writeText(link.href);
  link.textContent = 'Link copied';
  setTimeout(() => (link.textContent = 'Share'), COPIED_MS);
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
if (main) follow(main, offerSharing);
if (main?.dataset.permalink) showLinked(main.dataset.permalink);
document.addEventListener('click', share);
