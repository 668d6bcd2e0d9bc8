// Keeps what is typed: each input in this browser's IndexedDB at once, and a copy on the server
// after a pause, for the editor's other machines.
// Rules: no document. A text is written and removed by its own tab, or when the editor names it.

import { ask } from './send.js';
import { valuesToCopy, goneId, goneOf, isWanted, ofKind, sentId, textId } from './texts.js';

/** @import {Kept, Offer, Scope, Sent, Text} from './texts.js' */
/** @import {Answer} from './send.js' */

const RECORDS = 'records';
const PAUSE_MS = 1_500;
const AGAIN_MS = 10_000;
/** The server keeps copies of these forms only, and none above this size. */
const COPIED = /^(new|header|e[0-9a-z]{12})$/;
const COPY_BYTES_MAX = 65_536;
/** A browser's storage that takes longer than this counts as broken. */
const STORAGE_MS = 2_500;

/**
 * @typedef {object} Store
 * @property {() => Promise<any[]>} all ordered by id
 * @property {(puts: any[], deletes?: string[][]) => Promise<void>} write in one step
 */

/**
 * Return this browser's records of one editor and blog. The promise of `write` is kept when the
 * records are on the disk. All calls wait until the base is open, in their order.
 *
 * @param {IDBFactory} factory `indexedDB` @param {Scope} scope @returns {Store}
 */
export function openRecords(factory, scope) {
  let opening = openBase(factory);
  /** @param {IDBTransactionMode} [mode] @returns {Promise<IDBObjectStore>} of a new transaction */
  const begin = async (mode) => {
    const start = async () =>
      (await opening).transaction(RECORDS, mode, { durability: 'strict' }).objectStore(RECORDS);
    const was = opening;
    return start().catch(() => {
      // WebKit closes a connection in the background.
      if (opening === was) opening = openBase(factory);
      return start();
    });
  };
  const read = async () => {
    const store = await begin();
    const asked = store.getAll(IDBKeyRange.bound(scope, [...scope, []]));
    // In WebKit, a read that is not committed when the page is left blocks the next page's writes.
    store.transaction.commit?.();
    return resultOf(asked);
  };
  return {
    all: () => read().catch(read), // a read that lost its connection
    write: async (puts, deletes = []) => {
      const store = await begin('readwrite');
      const { transaction } = store;
      const ended = new Promise((done, fail) => {
        transaction.oncomplete = done;
        transaction.onabort = () => fail(transaction.error);
      });
      for (const id of deletes) store.delete(id);
      for (const it of puts) store.put(it);
      transaction.commit?.(); // a killed tab could not commit the transaction later
      await ended;
    },
  };
}

/** @param {IDBFactory} factory @returns {Promise<IDBDatabase>} */
async function openBase(factory) {
  const opening = factory.open('liveblog', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(RECORDS, { keyPath: 'id' });
  const base = await resultOf(opening);
  base.onversionchange = () => base.close();
  return base;
}

/** @param {IDBRequest} request @returns {Promise<any>} */
const resultOf = (request) =>
  new Promise((done, fail) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => fail(request.error);
  });

/** @param {Kept} a @param {Kept} b */
const byId = (a, b) => (a.id.join() < b.id.join() ? -1 : 1);

/** Return records that live as long as the page, until the disk is open. @returns {Store} */
export function pageRecords() {
  /** @type {Map<string, any>} */
  const records = new Map();
  return {
    all: async () => [...records.values()].sort(byId),
    write: async (puts, deletes = []) => {
      for (const id of deletes) records.delete(id.join());
      for (const it of puts) records.set(it.id.join(), structuredClone(it));
    },
  };
}

/** @param {Promise<any>} work @returns {Promise<boolean>} whether it did not fail */
export const isDone = (work) =>
  work.then(
    () => true,
    () => false,
  );

export const AHEAD = 'liveblog ahead ';

/** @typedef {Pick<Storage, 'getItem' | 'removeItem' | 'key' | 'length'>} Notes localStorage */

/** @param {Notes} notes @param {string} name @returns {any[][]} empty for a damaged note */
function notedIn(notes, name) {
  try {
    return JSON.parse(notes.getItem(name) ?? '');
  } catch {
    return [[], []];
  }
}

/**
 * Complete the noted writes of closed tabs. Texts that were typed later stay.
 *
 * @param {Store} records @param {Notes} notes @param {Scope} scope
 * @param {() => Promise<Set<string>>} others the living tabs, without this one, and this page
 */
export async function completeNoted(records, notes, scope, others) {
  const names = Array.from({ length: notes.length }, (_, i) => notes.key(i) ?? '');
  const noted = names.filter((name) => name.startsWith(AHEAD)).sort();
  const living = noted.length ? await others() : new Set();
  const isLiving = (/** @type {string} */ name) => name.split(' ').some((it) => living.has(it));
  for (const name of noted) {
    const [puts, deletes] = notedIn(notes, name);
    // A text that another editor took over has records of two editors, the new editor's at the end.
    const [editor, slug] = puts.at(-1)?.id ?? deletes[0] ?? [];
    if (editor !== scope[0] || slug !== scope[1] || isLiving(name)) continue;
    const stored = await records.all();
    const at = (/** @type {string[]} */ id) =>
      stored.find((it) => it.id.join() === id.join())?.typed_at ?? 0;
    const newest = Math.max(...puts.map((/** @type {any} */ it) => it.typed_at));
    const isNews = (/** @type {any} */ { id, typed_at }) =>
      at(id) < typed_at && at(goneId(scope, id[3], id[4])) < typed_at;
    await records.write(
      puts.filter(isNews),
      deletes.filter((/** @type {string[]} */ id) => at(id) <= newest),
    );
    notes.removeItem(name);
  }
}

/**
 * Return a function that gives answers of the storage a deadline: one that is not there in
 * `STORAGE_MS` fails. Until it has come, the others fail at once.
 *
 * @param {Pick<Hooks, 'setTimeout' | 'clearTimeout'>} timers
 * @returns {<T>(answer: Promise<T>) => Promise<T>}
 */
export function deadline({ setTimeout, clearTimeout }) {
  let isLate = false;
  return (answer) =>
    new Promise((done, fail) => {
      const miss = () => fail((isLate = true));
      const timer = setTimeout(miss, isLate ? 0 : STORAGE_MS);
      const end = () => ((isLate = false), clearTimeout(timer));
      answer.finally(end).then(done, fail);
    });
}

/**
 * Return records that also work when the disk is late or full, or the browser deletes its storage.
 * Records that the disk lacks live as long as the page, and in a note of localStorage. With a killed
 * tab, the browser drops the transactions that wait for the disk, but keeps the note. Each write
 * also writes what the writes before it could not.
 *
 * @param {Store} disk
 * @param {object} parts
 * @param {<T>(answer: Promise<T>) => Promise<T>} parts.inTime
 * @param {(content?: [any[], string[][]]) => void} parts.note records and the ids of deleted ones;
 *   without them the disk lacks nothing
 * @param {(isWritten: boolean) => void} parts.onwrite
 * @returns {Store}
 */
export function steadyRecords(disk, { inTime, note, onwrite }) {
  /** @type {Map<string, {id: string[], it?: any}>} what the disk lacks; without `it`: a deletion */
  const owed = new Map();
  /** @type {any[]} what was read last, and written since: for a read that fails or takes long */
  let last = [];
  /** @param {{id: string[], it?: any}[]} owing @returns {[any[], string[][]]} */
  const split = (owing) => [
    owing.flatMap(({ it }) => it ?? []),
    owing.flatMap(({ id, it }) => (it ? [] : [id])),
  ];
  const noteAll = () => (owed.size ? note(split([...owed.values()])) : note());
  /** @param {any[]} read @param {Map<string, {it?: any}>} newer */
  const merge = (read, newer) =>
    [
      ...read.filter((it) => !newer.has(it.id.join())),
      ...[...newer.values()].flatMap(({ it }) => it ?? []),
    ].sort(byId);
  /** @param {string[]} names */
  const write = async (names) => {
    const batch = new Map([...owed].filter(([name]) => names.includes(name)));
    await disk.write(...split([...batch.values()]));
    last = merge(last, batch);
    for (const [name, it] of batch) if (owed.get(name) === it) owed.delete(name);
    noteAll();
  };
  return {
    all: async () => {
      const read = await inTime(disk.all()).catch(() => last);
      return merge((last = read), owed);
    },
    write: async (puts, deletes = []) => {
      for (const id of deletes) owed.set(id.join(), { id });
      for (const it of puts) owed.set(it.id.join(), { id: it.id, it: structuredClone(it) });
      noteAll();
      const own = [...deletes, ...puts.map((it) => it.id)].map((id) => id.join());
      // One record that is too large must not keep the others from the disk.
      const writing = write([...owed.keys()]).catch(() => write(own));
      onwrite(await isDone(inTime(writing)));
    },
  };
}

/**
 * @typedef {Pick<Text, 'form' | 'tab' | 'typed_at'> & Partial<Text>} Removed
 */
/**
 * @typedef {object} Hooks
 * @property {Store} store
 * @property {Scope} scope
 * @property {typeof ask} ask
 * @property {() => number} now
 * @property {(run: () => void, wait_ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {(answer: Answer) => void} stopped the session has ended, or is another editor's
 */

/** @param {{form: string, tab: string}} a @param {{form: string, tab: string}} b */
const isOf = (a, b) => a.form === b.form && a.tab === b.tab;

export class Keeper {
  /** @type {Map<string, {timer: any, typed_at: number}>} the next copies, by form and tab */
  #timers = new Map();
  /** @type {Text[]} the server's copies that this browser lacked when it asked last */
  #found = [];
  /** The calls to the server, one after the other: a copy must not arrive after its removal. */
  #calls = Promise.resolve();
  #typed_at = 0;

  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.hooks = hooks;
  }

  /**
   * @returns {number} ms since 1970; later than each one before, also when the clock is set back
   */
  stamp() {
    return (this.#typed_at = Math.max(this.#typed_at + 1, this.hooks.now()));
  }

  /** Give later texts a later time than this, which another clock gave. @param {number} typed_at */
  see(typed_at) {
    this.#typed_at = Math.max(this.#typed_at, typed_at);
  }

  /** @param {{form: string, tab: string}} text */
  #idOf = ({ form, tab }) => textId(this.hooks.scope, form, tab);

  /** @param {Omit<Text, 'typed_at'>} text @returns {Kept} */
  record(text) {
    return { ...text, id: this.#idOf(text), typed_at: this.stamp() };
  }

  /**
   * Return the record of a form that was sent. Its id follows other clocks, for the order; the time
   * of the press does not: the server knows its key for a time.
   *
   * @param {Omit<Text, 'typed_at'>} text @param {string} path @param {number} typed_at 0 for now
   * @returns {Sent}
   */
  press(text, path, typed_at) {
    const { hooks } = this;
    const stamp = this.stamp();
    const id = sentId(hooks.scope, stamp, text.key);
    const press = { path, pressed_at: hooks.now(), tries: 0, held: '', why: '' };
    return { ...text, id, typed_at: typed_at || stamp, ...press };
  }

  /** Keep what one form shows. @param {Omit<Text, 'typed_at'>} text */
  keep(text) {
    const kept = this.record(text);
    this.copyLater(kept, PAUSE_MS);
    this.hooks.store.write([kept]);
    return kept;
  }

  /**
   * Remove texts, here and on the server; write others in the same step.
   *
   * @param {Removed[]} texts @param {any[]} [puts]
   * @param {string[][]} [deletes] the ids of the texts here; a late disk may have a later text than
   *   the server's copy
   */
  async drop(texts, puts = [], deletes = texts.map((it) => this.#idOf(it))) {
    const { store, scope } = this.hooks;
    await store.write([...texts.map((it) => goneOf(scope, it)), ...puts], deletes);
    for (const it of texts) this.remove(it);
    for (const it of ofKind(puts, 'text')) this.copyLater(it);
  }

  /**
   * Let no copy follow of a text that was sent.
   *
   * @param {string} form @param {string} tab
   * @param {number} [typed_at] the copy of a text that was typed later follows
   */
  stop(form, tab, typed_at = Infinity) {
    const name = `${form} ${tab}`;
    const next = this.#timers.get(name);
    if (!next || next.typed_at > typed_at) return;
    this.hooks.clearTimeout(next.timer);
    this.#timers.delete(name); // a copy without an answer is then sent no more
  }

  /**
   * Remove the server's copy of a text that was stored, and the copy of the editor who typed it
   * before another one took it over. The text's key allows that.
   *
   * @param {Removed} text
   */
  remove({ form, tab, typed_at, key = '', former }) {
    this.stop(form, tab, typed_at);
    const query = `?typed_at=${typed_at}`;
    this.#call(form, tab, query, { method: 'DELETE' });
    if (!former) return;
    const headers = { 'Liveblog-Key': key }; // and not in the address, which proxies log
    const of = `${query}&editor=${encodeURIComponent(former)}`;
    this.#call(form, tab, of, { method: 'DELETE', headers });
  }

  /** @param {Text} text @param {number} [wait_ms] */
  copyLater(text, wait_ms = 0) {
    const { form, tab, typed_at } = text;
    this.stop(form, tab);
    const timer = this.hooks.setTimeout(() => this.#copy(text), wait_ms);
    this.#timers.set(`${form} ${tab}`, { timer, typed_at });
  }

  /** @param {Text} text */
  async #copy(text) {
    const { form, tab, values, base, key, typed_at } = text;
    const bodies = [valuesToCopy(text), values].map((it) =>
      JSON.stringify({ values: it, base, key, typed_at }),
    );
    const body = bodies.find((it) => new Blob([it]).size <= COPY_BYTES_MAX);
    if (!body) return;
    const headers = { 'Content-Type': 'application/json' };
    const own = this.#timers.get(`${form} ${tab}`);
    const answer = await this.#call(form, tab, '', { method: 'PUT', body, headers });
    const isNewest = this.#timers.get(`${form} ${tab}`) === own;
    if (answer?.kind === 'unanswered' && isNewest) this.copyLater(text, AGAIN_MS);
  }

  /** @param {string} form @param {string} tab @param {string} query @param {RequestInit} init */
  #call(form, tab, query, init) {
    return COPIED.test(form) ? this.#inOrder(`/${form}/${tab}${query}`, init) : undefined;
  }

  /** @param {string} path @param {RequestInit} init */
  #inOrder(path, init) {
    const call = this.#calls.then(() => this.#ask(path, init));
    this.#calls = call.then(() => {});
    return call;
  }

  /** @param {string} path @param {RequestInit} init */
  async #ask(path, init) {
    const [editor, slug] = this.hooks.scope;
    const answer = await this.hooks.ask(`/desk/blogs/${slug}/kept${path}`, init, editor);
    // A page on which nothing was typed has nothing to ask another editor.
    const isOther = answer.kind === 'other-editor' && init.method === 'PUT';
    if (isOther || answer.kind === 'signed-out') this.hooks.stopped(answer);
    return answer;
  }

  /**
   * Return the server's copies that this browser lacks. Remove those that are no longer wanted, and
   * the notes about copies that are gone.
   *
   * @returns {Promise<Text[]>}
   */
  async copies() {
    const answer = await this.#inOrder('', { method: 'GET' });
    if (answer.kind !== 'done') return [];
    const { store } = this.hooks;
    const copies = /** @type {Text[]} */ (answer.content.kept ?? []);
    const records = await store.all();
    const gone = ofKind(records, 'gone');
    const left = gone.filter(({ id: [, , , form, tab], typed_at }) => {
      const copy = copies.find((it) => isOf(it, { form, tab }));
      if (copy && copy.typed_at <= typed_at) this.remove(copy);
      return copy && copy.typed_at <= typed_at;
    });
    await store.write(
      [],
      gone.filter((it) => !left.includes(it)).map((it) => it.id),
    );
    for (const text of /** @type {Kept[]} */ (ofKind(records, 'text'))) {
      const hasCopy = copies.some((it) => isOf(it, text) && it.typed_at >= text.typed_at);
      if (!hasCopy) this.copyLater(text); // its tab may have been closed too early for that
    }
    return (this.#found = copies.filter((copy) => isWanted(copy, records)));
  }

  /**
   * Return a text of this tab: as this browser has it, or as the server has it, because the browser
   * may have deleted its storage.
   *
   * @param {string} form @param {string} tab @returns {Promise<Offer | undefined>}
   */
  async own(form, tab) {
    const records = await this.hooks.store.all();
    const copies = this.#found.filter((copy) => isWanted(copy, records));
    return [...ofKind(records, 'text'), ...copies].find((it) => isOf(it, { form, tab }));
  }
}
