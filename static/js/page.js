// Starts the reader's page: creates the feed, the view, the stream and the badge (which shows that
// there are new entries), connects them, and gives the buttons their actions.

import { Badge } from './badge.js';
import { Feed, focusOn } from './feed.js';
import { Live } from './live.js';
import { recall, remember } from './memory.js';
import { byId, leaveToBrowser, Place } from './place.js';
import { Release } from './release.js';
import { canShare, offerSharing, share } from './share.js';
import { firstMissing } from './summary.js';
import { Times } from './time.js';
import { VERSION } from './version.js';
import { View } from './view.js';

const main = /** @type {HTMLElement} */ (document.querySelector('main[data-blog]'));
const blogUrl = `${location.origin}/blogs/${main.dataset.blog}`;

const feed = new Feed(main, true);
const times = new Times(main.dataset, Date.now);
const view = new View(main, feed, times, decorate);
const live = new Live(main, view, /** @type {any} */ (window));
const now = () => performance.now();
const badge = new Badge(main, now);
const opening = new Place(live, blogUrl);

live.onupdate = () => {
  byId('zone').hidden = !times.isOwn && !times.differs();
  badge.show(view.arrivals, feed.waiting.length);
};
live.ontick = () => {
  view.arrivals = badge.tick(view.arrivals);
  release.tick();
};

/** @param {Element} root */
function decorate(root) {
  // Make the headings of every version of an entry focusable, so that an edit keeps the focus.
  for (const heading of root.querySelectorAll('h3')) heading.tabIndex = -1;
  offerSharing(root);
}

// -- a new release of the server

/** Without input for this long, a reader may not be looking. */
const QUIET_MS = 60_000;
let input_ms = now();
const release = new Release(
  [main.dataset.version, VERSION],
  () =>
    byId('status').dataset.state === 'live' &&
    !feed.isPlaying &&
    (document.hidden || now() - input_ms > QUIET_MS),
  () => live.fetchVersion(),
  window,
);
live.compare = (version) => release.compare(version);
for (const kind of ['pointerdown', 'pointermove', 'keydown', 'scroll']) {
  addEventListener(kind, () => (input_ms = now()), true);
}

// -- buttons

/**
 * Let a button switch a setting on and off. The browser saves the setting for the next visit.
 *
 * @param {string} id @param {[string, string]} texts the button's text when off and when on
 * @param {(isOn: boolean) => void} act
 */
function switchable(id, texts, act) {
  const button = byId(id);
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

/** @param {boolean} isUp true: the oldest entry first */
function setOrder(isUp) {
  view.steadily(() => {
    feed.turn(isUp);
    if (isUp) feed.list.before(byId('older'));
    else byId('empty').after(byId('older'));
    view.update();
  });
}

/** @param {boolean} isOwn true: the reader's time zone; false: the blog's */
function setZone(isOwn) {
  times.isOwn = isOwn && !!times.ownZone;
  live.refresh();
  view.update();
}

function setUpPause() {
  const button = byId('pause');
  let isPaused = false;
  button.addEventListener('click', () => {
    if (live.stream.pause(!isPaused)) isPaused = !isPaused;
    button.firstChild.data = isPaused ? 'Resume' : 'Pause';
  });
}

/** Go to the first new entry: here, or on the blog's page when this page lacks new entries. */
function openNew() {
  const from = firstMissing(view.arrivals);
  if (from < Infinity) {
    return location.assign(`${blogUrl}?at=${live.position()}#unread-${from}`);
  }
  const [first] = view.reveal();
  if (first) feed.goTo(first);
}

/** Whether the click opens another window. @param {MouseEvent} event */
const isModified = (event) => event.metaKey || event.ctrlKey || event.shiftKey;

/** @param {MouseEvent} event */
async function loadOlder(event) {
  const link = /** @type {any} */ (event.target).closest('#older a');
  if (!link || isModified(event)) return;
  event.preventDefault();
  const known = new Set(feed.entries);
  const isLoaded = await live.loadOlder();
  const first = feed.entries.find((entry) => !known.has(entry));
  // Move the focus from the link to the first loaded entry, unless the reader has moved the focus.
  if (first && [link, document.body].includes(document.activeElement)) focusOn(first);
  if (!isLoaded) link.textContent = 'Older updates could not be loaded. Try again';
}

/** @param {MouseEvent} event */
function jump(event) {
  const id = /** @type {any} */ (event.target).closest('#key-events li')?.dataset.entry;
  if (!byId(id) || isModified(event)) return;
  event.preventDefault();
  location.hash = id;
  opening.goTo(id);
}

switchable('order', ['Oldest first', 'Newest first'], setOrder);
switchable('zone', ['My time', 'Blog time'], setZone);
byId('share').hidden = !canShare;
live.start();
setUpPause();
badge.button.addEventListener('click', openNew);
// Let the browser restore the scroll position when a reader follows a link and then returns.
document.addEventListener('click', () => leaveToBrowser(true), true);
document.addEventListener('click', loadOlder);
document.addEventListener('click', jump);
document.addEventListener('click', (event) =>
  share(event, blogUrl, (text) => badge.announce(text)),
);
document.addEventListener('animationend', (event) => {
  // With the class, an entry would repeat its animation when it moves, as when the order changes.
  /** @type {any} */ (event.target).classList.remove('fresh');
});
addEventListener('hashchange', () => opening.follow());
addEventListener('pagehide', () => opening.keep());
opening.open();
