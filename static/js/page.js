// The reader's page: what its buttons do, and where it opens.

import { Arrivals } from './arrivals.js';
import { Live } from './live.js';
import { safely } from './time.js';

const COPIED_MS = 2_000;

const main = /** @type {HTMLElement} */ (document.querySelector('main[data-blog]'));
const blogUrl = `${location.origin}/blogs/${main.dataset.blog}`;

const arrivals = new Arrivals(main, {
  leave: (order) => location.assign(`${blogUrl}?at=${live.position()}#unread-${order}`),
  revealed: () => live.view.see(),
});
const live = new Live(main, { arrivals, decorate, settled: offerZone });

/** @param {string} id @returns {any} */
const one = (id) => document.getElementById(id);

// -- what is remembered: of the reader everywhere, of this page while the window is open

/** @param {'localStorage' | 'sessionStorage'} store @param {string} name */
const recall = (store, name) =>
  safely(() => JSON.parse(window[store].getItem(`liveblog:${name}`) ?? ''));

/** @param {'localStorage' | 'sessionStorage'} store @param {string} name @param {any} value */
const remember = (store, name, value) =>
  safely(() => window[store].setItem(`liveblog:${name}`, JSON.stringify(value)));

/**
 * A button with two states, the second of which is remembered.
 *
 * @param {string} id @param {[string, string]} texts what it offers @param {(isOn: boolean) => void} act
 */
function toggle(id, texts, act) {
  const button = one(id);
  let isOn = recall('localStorage', id) === true;
  const show = () => {
    button.textContent = texts[Number(isOn)];
    act(isOn);
  };
  if (isOn) show();
  button.addEventListener('click', () => {
    isOn = !isOn;
    remember('localStorage', id, isOn);
    show();
  });
}

// -- buttons

/** @param {boolean} isUp the oldest entry first */
function setOrder(isUp) {
  const { view } = live;
  view.steadily(() => {
    main.dataset.first = isUp ? 'oldest' : 'newest';
    view.feed.append(...[...view.feed.children].reverse());
    if (isUp) view.feed.before(one('older'));
    else one('empty').after(one('older'));
    view.settle();
  });
}

/** @param {boolean} isOwn */
function setZone(isOwn) {
  live.times.isOwn = isOwn;
  live.refresh();
  live.view.settle();
}

function offerZone() {
  one('zone').hidden = !live.times.isOwn && !live.times.differs();
}

function setUpPause() {
  const button = one('pause');
  let isPaused = false;
  button.addEventListener('click', () => {
    if (live.stream.pause(!isPaused)) isPaused = !isPaused;
    button.firstChild.data = isPaused ? 'Resume' : 'Pause';
  });
}

/** For another window. @param {MouseEvent} event */
const isModified = (event) => event.metaKey || event.ctrlKey || event.shiftKey;

/** @param {MouseEvent} event */
async function loadOlder(event) {
  const link = /** @type {any} */ (event.target).closest('#older a');
  if (!link || isModified(event)) return;
  event.preventDefault();
  const { feed } = live.view;
  const known = new Set(feed.children);
  const isLoaded = await live.loadOlder();
  const first = [...feed.children].find((entry) => !known.has(entry));
  // Who pressed the link goes on at the first of them; who went elsewhere meanwhile stays there.
  if (first && [link, document.body].includes(document.activeElement)) arrivals.focus(first);
  if (!isLoaded) link.textContent = 'Older updates could not be loaded. Try again';
}

/** @param {Element} root */
function decorate(root) {
  // Or an edit would take the focus that was put there.
  for (const heading of root.querySelectorAll('h3')) heading.tabIndex = -1;
  offerSharing(root);
}

/** In the line of the time, so that nothing moves. @param {Element} root */
function offerSharing(root) {
  for (const link of root.querySelectorAll('p.when > a')) {
    const share = /** @type {any} */ (link.cloneNode());
    share.dataset.share = '';
    share.textContent = 'Share';
    link.after(share);
  }
}

const canShare = !!(navigator.share || navigator.clipboard); // not without https

/** @param {MouseEvent} event */
function share(event) {
  const link = /** @type {any} */ (event.target).closest('[data-share]');
  if (!link || !canShare) return;
  event.preventDefault();
  const url = link.href ?? blogUrl;
  const shared = navigator.share ? navigator.share({ url }) : copy(url, link);
  shared
    .catch(({ name }) => (name === 'AbortError' ? undefined : copy(url, link))) // thought better
    .catch(() => {}); // it is forbidden
}

/** @param {string} url @param {HTMLElement} link */
async function copy(url, link) {
  await navigator.clipboard.writeText(url);
  link.textContent = 'Link copied';
  arrivals.say('Link copied');
  setTimeout(() => (link.textContent = 'Share'), COPIED_MS);
}

/** @param {MouseEvent} event */
function jump(event) {
  const id = /** @type {any} */ (event.target).closest('#key-events li')?.dataset.entry;
  if (!one(id) || isModified(event)) return;
  event.preventDefault();
  location.hash = id;
  goTo(id);
}

/** To an entry on this page, which may be waiting. @param {string} id */
function goTo(id) {
  if (one(id)?.hidden) arrivals.reveal();
  one(id)?.scrollIntoView({ behavior: 'instant' });
}

// -- where the page opens

const isArrival = /** @type {any} */ (performance.getEntriesByType('navigation')[0])?.type === 'navigate';
const pageKey = () => location.pathname + location.search;

function keepPlace() {
  const { feed } = live.view;
  const seen = [...feed.children].find((it) => it.getBoundingClientRect().bottom > 0);
  remember('sessionStorage', pageKey(), {
    lowest: live.timeline.lowest ?? 0,
    id: feed.getBoundingClientRect().top < 0 && seen?.id, // above it the page itself is kept in place
    top: seen?.getBoundingClientRect().top,
    y: scrollY, // where it is, should it be gone
  });
}

/** @param {boolean} isAuto whether it keeps the place of this step of the history */
function leaveToBrowser(isAuto) {
  history.scrollRestoration = isAuto ? 'auto' : 'manual';
}

/** To where the reader was, whatever came above it; older pages must be there again first. */
async function restorePlace() {
  const kept = recall('sessionStorage', pageKey());
  leaveToBrowser(!kept?.id); // which would scroll later
  if (kept?.lowest < (live.timeline.lowest ?? 0)) await live.reach(kept.lowest);
  if (!kept?.id) return;
  const top = one(kept.id)?.getBoundingClientRect().top ?? kept.top + kept.y - scrollY;
  scrollBy({ top: top - kept.top, behavior: 'instant' });
}

/** @param {number} from the order from which on nothing was read */
async function showUnread(from) {
  history.replaceState(history.state, '', location.pathname); // not at an instant any more
  await live.reach(from);
  const isNew = (/** @type {any} */ it) => Number(it.dataset.order) >= from;
  const entries = [...live.view.feed.children].filter(isNew);
  const first = main.dataset.first === 'oldest' ? entries[0] : entries.at(-1);
  if (first) arrivals.goTo(/** @type {HTMLElement} */ (first));
}

/** To an entry that was on this page when its address was copied, or a link to it written. */
function goToLinked() {
  const [, id] = /^#(e\w{12})$/.exec(location.hash) ?? [];
  if (id && !one(id)) location.replace(`${blogUrl}/entries/${id}`);
}

/** @param {string} id */
function showLinked(id) {
  one(id)?.classList.add('linked');
  if (isArrival) one(id)?.scrollIntoView();
}

toggle('order', ['Oldest first', 'Newest first'], setOrder);
toggle('zone', ['My time', 'Local time'], setZone);
one('share').hidden = !canShare;
live.start();
setUpPause();
document.addEventListener('click', () => leaveToBrowser(true), true); // who goes on from here comes back
for (const act of [loadOlder, share, jump]) document.addEventListener('click', act);
document.addEventListener('animationend', (event) => {
  /** @type {any} */ (event.target).classList.remove('fresh'); // moved, it would play again
});
addEventListener('hashchange', () => {
  goTo(location.hash.slice(1));
  goToLinked();
});
addEventListener('pagehide', keepPlace);

const [, unread] = /^#unread-(\d{1,15})$/.exec(location.hash) ?? [];
if (unread) showUnread(Number(unread));
else if (main.dataset.permalink) showLinked(main.dataset.permalink);
else if (isArrival) goToLinked();
if (!isArrival) restorePlace();
