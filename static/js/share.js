// Shares the page or an entry: opens the system's share dialog; without one, copies the address.

const COPIED_MS = 2_000;

/** Whether this browser can share; without https it cannot. */
export const canShare = !!(navigator.share || navigator.clipboard);

/**
 * Add a share link to each entry, beside the entry's time: there the link shifts no text.
 *
 * @param {Element} root
 */
export function offerSharing(root) {
  for (const link of root.querySelectorAll('p.when > a')) {
    const share = /** @type {any} */ (link.cloneNode());
    share.dataset.share = '';
    share.textContent = 'Share';
    link.after(share);
  }
}

/**
 * Share when a share button or link was clicked.
 *
 * @param {MouseEvent} event @param {string} blogUrl the address that the page's share button shares
 * @param {(text: string) => void} announce
 */
export function share(event, blogUrl, announce) {
  const link = /** @type {any} */ (event.target).closest('[data-share]');
  if (!link || !canShare) return;
  event.preventDefault();
  const url = link.href ?? blogUrl;
  const copied = () => copy(url, link, announce);
  const shared = navigator.share ? navigator.share({ url }) : copied();
  shared
    .catch(({ name }) => (name === 'AbortError' ? undefined : copied())) // cancelled by the reader
    .catch(() => {}); // the browser forbids copying
}

/** @param {string} url @param {HTMLElement} link @param {(text: string) => void} announce */
async function copy(url, link, announce) {
  await navigator.clipboard.writeText(url);
  link.textContent = 'Link copied';
  announce('Link copied');
  setTimeout(() => (link.textContent = 'Share'), COPIED_MS);
}
