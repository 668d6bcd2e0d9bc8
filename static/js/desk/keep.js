// Keeps what is typed: each input in this browser's IndexedDB at once, and a copy on the server
// after a pause, for the editor's other machines.
// Rules: no document. A text is written and removed by its own tab, or when the editor names it.

import { ask } from './send.js';
import { valuesToCopy, goneId, goneOf, isWanted, ofKind, sentId, textId } from './texts.js';

/** @import {Kept, Scope, Sent, Text} from './texts.js' */
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
 * Open this browser's records of one editor and blog. The promise of `write` is kept when the
 * records are on the disk.
 *
 * @param {IDBFactory} factory `indexedDB` @param {Scope} scope @returns {Promise<Store>}
 */
export async function openRecords(factory, scope) {
  let base = await openBase(factory);
  /** @type {Promise<any> | null} All calls wait for it, so that writes stay in their order. */
  let opening = null;
  /** @param {IDBTransactionMode} [mode] @returns {Promise<IDBObjectStore>} of a new transaction */
  const begin = async (mode) => {
    const start = () =>
      base.transaction(RECORDS, mode, { durability: 'strict' }).objectStore(RECORDS);
    await opening;
    try {
      return start();
    } catch {
      // WebKit closes a connection in the background.
      base = await (opening ??= openBase(factory).finally(() => (opening = null)));
      return start();
    }
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

/** Return records that live as long as the page, for a browser without storage. @returns {Store} */
export function pageRecords() {
  /** @type {Map<string, any>} */
  const records = new Map();
  return {
    all: async () => [...records.values()].sort((a, b) => (a.id.join() < b.id.join() ? -1 : 1)),
    write: async (puts, deletes = []) => {
      for (const id of deletes) records.delete(id.join());
      for (const it of puts) records.set(it.id.join(), structuredClone(it));
    },
  };
}

export const AHEAD = 'liveblog ahead ';

/**
 * @typedef {Pick<Storage, 'setItem' | 'getItem' | 'removeItem' | 'key' | 'length'>} Notes
 * localStorage
 */

/**
 * Return records whose writes are noted in localStorage until they are done. With a killed tab, the
 * browser drops the tab's transactions that wait for the disk, but not what localStorage was given.
 *
 * @param {Store} records @param {Notes} notes @param {string} tab @param {number} now_ms
 * @returns {Store}
 */
export function notedRecords(records, notes, tab, now_ms) {
  let number = now_ms * 1_000;
  /** @type {Record<string, string>} the notes of writes that failed, by the ids of their records */
  const failed = {};
  return {
    all: records.all,
    write: (puts, deletes = []) => {
      const name = `${AHEAD}${tab} ${(number += 1)}`;
      const ids = [...puts.map((it) => it.id), ...deletes].join();
      try {
        notes.setItem(name, JSON.stringify([puts, deletes]));
        notes.removeItem(failed[ids]); // else each letter would leave a note
      } catch {
        // The storage is full. The record itself is written all the same.
      }
      return records.write(puts, deletes).then(
        () => notes.removeItem(name),
        (error) => {
          failed[ids] = name;
          throw error;
        },
      );
    },
  };
}

/**
 * Complete the noted writes of closed tabs. Texts that were typed later stay.
 *
 * @param {Store} records @param {Notes} notes @param {Scope} scope
 * @param {() => Promise<Set<string>>} others the living tabs, without this one
 */
export async function completeNoted(records, notes, scope, others) {
  const names = Array.from({ length: notes.length }, (_, i) => notes.key(i) ?? '');
  const noted = names.filter((name) => name.startsWith(AHEAD)).sort();
  const living = noted.length ? await others() : new Set();
  for (const name of noted) {
    const [puts, deletes] = JSON.parse(notes.getItem(name) ?? '[[], []]');
    // A text that another editor took over has records of two editors, the new editor's at the end.
    const [editor, slug] = puts.at(-1)?.id ?? deletes[0] ?? [];
    if (editor !== scope[0] || slug !== scope[1] || living.has(name.split(' ')[2])) continue;
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
 * Return a function that gives records a deadline: a call without an answer in `STORAGE_MS` fails.
 * Until its late answer has come, the other calls fail at once.
 *
 * @param {Pick<Hooks, 'setTimeout' | 'clearTimeout'>} timers
 * @returns {(records: Store | Promise<Store>) => Promise<Store>}
 */
export function deadline({ setTimeout, clearTimeout }) {
  let isLate = false;
  /** @type {<T>(answer: Promise<T>) => Promise<T>} */
  const inTime = (answer) =>
    new Promise((done, fail) => {
      const miss = () => fail((isLate = true));
      const timer = setTimeout(miss, isLate ? 0 : STORAGE_MS);
      const end = () => ((isLate = false), clearTimeout(timer));
      answer.finally(end).then(done, fail);
    });
  return async (opening) => {
    const { all, write } = await inTime(Promise.resolve(opening));
    return {
      all: () => inTime(all()),
      write: (puts, deletes) => inTime(write(puts, deletes)),
    };
  };
}

/**
 * Return records that also work when the disk is full or the browser deletes its storage: what
 * cannot be written lives as long as the page.
 *
 * @param {Store} records @param {() => void} onfail
 * @returns {Store}
 */
export function steadyRecords(records, onfail) {
  const here = pageRecords();
  /** @type {Map<string, string[]>} ids that could not be deleted; each write deletes them again */
  const dead = new Map();
  /** @type {any[]} what was read last, and written since: for a read that fails or takes long */
  let last = [];
  return {
    all: async () => {
      const reading = records.all().then(
        (it) => (last = it),
        () => last,
      );
      const [own, others] = await Promise.all([here.all(), reading]);
      const ids = own.map((it) => it.id.join());
      const isHere = (/** @type {string} */ id) => ids.includes(id) || dead.has(id);
      return [...own, ...others.filter((it) => !isHere(it.id.join()))];
    },
    write: async (puts, deletes = []) => {
      const gone = [...deletes, ...dead.values()];
      const isWritten = await records.write(puts, gone).then(
        () => true,
        () => false,
      );
      const ids = [...gone, ...puts.map((it) => it.id)];
      if (!isWritten) onfail();
      last = last.filter((it) => !ids.some((id) => id.join() === it.id.join()));
      if (isWritten) last.push(...puts);
      for (const id of gone)
        if (isWritten) dead.delete(id.join());
        else dead.set(id.join(), id);
      for (const it of puts) dead.delete(it.id.join());
      await here.write(isWritten ? [] : puts, ids);
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

export class Keeper {
  /** @type {Map<string, any>} timers of copies, by form and tab */
  #timers = new Map();
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

  /** @param {Omit<Text, 'typed_at'>} text @returns {Kept} */
  record(text) {
    const { form, tab } = text;
    return { ...text, id: textId(this.hooks.scope, form, tab), typed_at: this.stamp() };
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
    this.#copyLater(kept, PAUSE_MS);
    this.hooks.store.write([kept]);
    return kept;
  }

  /**
   * Remove texts, here and on the server; write others in the same step.
   *
   * @param {Removed[]} texts @param {any[]} [puts]
   */
  async drop(texts, puts = []) {
    const { store, scope } = this.hooks;
    const deletes = texts.map(({ form, tab }) => textId(scope, form, tab));
    await store.write([...texts.map((it) => goneOf(scope, it)), ...puts], deletes);
    for (const it of texts) this.remove(it);
    for (const it of ofKind(puts, 'text')) this.#copyLater(it, 0);
  }

  /** Let no copy follow of a text that was sent. @param {string} form @param {string} tab */
  stop(form, tab) {
    const name = `${form} ${tab}`;
    this.hooks.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name); // a copy without an answer is then sent no more
  }

  /**
   * Remove the server's copy of a text that was stored, and the copy of the editor who typed it
   * before another one took it over. The text's key allows that.
   *
   * @param {Removed} text
   */
  remove({ form, tab, typed_at, key = '', former }) {
    this.stop(form, tab);
    const query = `?typed_at=${typed_at}`;
    this.#call(form, tab, query, { method: 'DELETE' });
    if (!former) return;
    const headers = { 'Liveblog-Key': key }; // and not in the address, which proxies log
    const of = `${query}&editor=${encodeURIComponent(former)}`;
    this.#call(form, tab, of, { method: 'DELETE', headers });
  }

  /** @param {Kept} text @param {number} wait_ms */
  #copyLater(text, wait_ms) {
    const name = `${text.form} ${text.tab}`;
    this.hooks.clearTimeout(this.#timers.get(name));
    this.#timers.set(
      name,
      this.hooks.setTimeout(() => this.#copy(text), wait_ms),
    );
  }

  /** @param {Kept} text */
  async #copy(text) {
    const { form, tab, values, base, key, typed_at } = text;
    const bodies = [valuesToCopy(text), values].map((it) =>
      JSON.stringify({ values: it, base, key, typed_at }),
    );
    const body = bodies.find((it) => new Blob([it]).size <= COPY_BYTES_MAX);
    if (!body) return;
    const headers = { 'Content-Type': 'application/json' };
    const timer = this.#timers.get(`${form} ${tab}`);
    const answer = await this.#call(form, tab, '', { method: 'PUT', body, headers });
    const isNewest = this.#timers.get(`${form} ${tab}`) === timer;
    if (answer?.kind === 'unanswered' && isNewest) this.#copyLater(text, AGAIN_MS);
  }

  /** @param {string} form @param {string} tab @param {string} query @param {RequestInit} init */
  #call(form, tab, query, init) {
    if (!COPIED.test(form)) return;
    const call = this.#calls.then(() => this.#ask(`/${form}/${tab}${query}`, init));
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
    const answer = await this.#ask('', { method: 'GET' });
    if (answer.kind !== 'done') return [];
    const { store } = this.hooks;
    const copies = /** @type {Text[]} */ (answer.content.kept ?? []);
    const records = await store.all();
    const gone = ofKind(records, 'gone');
    const left = gone.filter(({ id: [, , , form, tab], typed_at }) => {
      const copy = copies.find((it) => it.form === form && it.tab === tab);
      if (copy && copy.typed_at <= typed_at) this.remove(copy);
      return copy && copy.typed_at <= typed_at;
    });
    await store.write(
      [],
      gone.filter((it) => !left.includes(it)).map((it) => it.id),
    );
    return copies.filter((copy) => isWanted(copy, records));
  }
}
