// The records of this browser, their copies on the server, and the queue of the forms that were
// sent, as this page has them.
// Rules: desk/watch.js knows the forms. Other modules tell it what happens through `hooks`.

import { main, newKey, say, slug } from './boxes.js';
import {
  AHEAD,
  completeNoted,
  deadline,
  isDone,
  Keeper,
  openRecords,
  pageRecords,
  steadyRecords,
} from './keep.js';
import { Queue } from './queue.js';
import { ask, post } from './send.js';
import { newTab, Tabs } from './tabs.js';
import { goneOf } from './texts.js';

/** @import {Kept, Sent} from './texts.js' */
/** @import {Answer} from './send.js' */
/** @import {Store} from './keep.js' */

/** The editor for whom this page was made, and the blog. `become` alters it. */
export const scope = [main.dataset.editor ?? '', slug];
/** The tab of texts that are typed before this tab has an id. */
export const early = newTab();
const channel = globalThis.BroadcastChannel && new BroadcastChannel('liveblog desk');
/** @param {'localStorage' | 'sessionStorage'} name @returns {Storage | undefined} */
function storageOf(name) {
  try {
    return globalThis[name];
  } catch {
    return undefined; // the browser forbids storage
  }
}

const notes = storageOf('localStorage');

/**
 * Note what must survive a killed tab, unless the storage is full.
 *
 * @param {string} name @param {any} [content] without it, the note is removed
 */
export function note(name, content) {
  try {
    if (content) notes?.setItem(name, JSON.stringify(content));
    else notes?.removeItem(name);
  } catch {
    // The records themselves are written all the same.
  }
}

/** @param {() => void} run @param {number} wait_ms */
const later = (run, wait_ms) => setTimeout(run, wait_ms);
/** @param {any} timer */
const stopTimer = (timer) => clearTimeout(timer);

export const tabs = new Tabs({
  locks: navigator.locks,
  channel,
  storage: storageOf('sessionStorage'),
  setTimeout: later,
  newId: newTab,
});
/** What the page does when a form was answered, or records changed. */
export const hooks = {
  /** @type {(item: Sent, answer: Answer, text?: Kept, isHere?: boolean) => void} */
  answered: () => {},
  /** @type {(answer: Answer) => void} the session has ended, or is another editor's */
  stopped: () => {},
  changed: () => {},
  /** @type {(isKept: boolean) => void} this browser stores texts, or not */
  kept: () => {},
};

/** @type {Store} */
export let records = pageRecords();
/** @type {Keeper} */
export let keeper;
/** @type {Queue} */
export let queue;

/** @type {Promise<void> | undefined} */
let opened;
/** Open the records once, and take an id for this tab. Forms may be watched before. */
export const openDesk = () => (opened ??= begin());

async function begin() {
  const timers = { now: Date.now, setTimeout: later, clearTimeout: stopTimer };
  const inTime = deadline(timers);
  const disk = openRecords(indexedDB, scope);
  const isQuick = await isDone(inTime(disk.all()));
  // The texts of this tab on a late disk are offered. No letter must replace them.
  await tabs.start(isQuick);
  const name = `${AHEAD}${tabs.id} ${early}`; // an earlier page of this tab has another one
  records = steadyRecords(disk, { inTime, note: (it) => note(name, it), onwrite: hooks.kept });
  const others = async () => {
    const living = await tabs.living();
    living.delete(tabs.id);
    return living.add(early);
  };
  const complete = async () => notes && completeNoted(records, notes, scope, others);
  if (isQuick) await isDone(complete());
  keeper = new Keeper({ ...timers, store: records, scope, ask, stopped: hooks.stopped });
  queue = new Queue({
    ...timers,
    store: records,
    send: sendItem,
    alone: (work) => tabs.alone(`liveblog queue ${scope.join(' ')}`, work),
    spare: () => ({ tab: newTab(), key: newKey() }),
    say,
  });
  queue.onanswer = (item, answer, text) => {
    if (answer.kind === 'done') keeper.remove(item);
    channel?.postMessage({ scope, item, answer, text });
    hooks.answered(item, answer, text, true);
  };
  channel?.addEventListener('message', ({ data }) => {
    if (`${data.scope}` !== `${scope}`) return; // of another blog, another editor, or desk/tabs.js
    if (data.item) hooks.answered(data.item, data.answer, data.text);
    hooks.changed();
  });
  hooks.kept(isQuick);
  if (isQuick) return;
  // The disk may have later texts than the notes.
  isDone(disk.all())
    .then(complete)
    .then(() => (changed(), queue.drain()));
}

/** Let the lists of all tabs show what has changed. */
export function changed() {
  channel?.postMessage({ scope });
  hooks.changed();
}

/** @param {Sent} item */
function sendItem({ path, values, key, pressed_at }) {
  const ago_ms = Date.now() - pressed_at;
  const isLate = values.status === 'published' && !values.publish_at && ago_ms >= 1_000;
  const late = isLate ? { pressed_ago_ms: `${ago_ms}` } : null;
  return post(path, { ...values, idempotency_key: key, ...late }, scope[0]);
}

/**
 * Let another editor send what this tab has: move its records, and remove the first editor's copies
 * from the server. The page stays.
 *
 * @param {string} ident of the editor whose session it is now
 */
export async function become(ident) {
  const [former] = scope;
  const mine = (await records.all()).filter((it) => it.id[2] !== 'gone' && tabs.holds(it.tab));
  const moved = mine.map((it) => {
    // A form that was sent may be stored. The server knows its key only for the first editor.
    const held = it.tries ? say('maybe') : it.held;
    return { ...it, id: [ident, ...it.id.slice(1)], former, held };
  });
  await records.write(
    [...mine.map((it) => goneOf(scope, it)), ...moved],
    mine.map((it) => it.id),
  );
  scope[0] = ident;
  for (const it of moved) keeper.remove(it);
  changed();
}

/** Ask the browser, once, to delete no texts when its disk is full. */
export function askToPersist() {
  const name = 'liveblog persist';
  if (!notes || notes[name]) return;
  navigator.storage?.persist().catch(() => {});
  note(name, 1);
}

