// The queue of forms that were sent, in the order of the presses, until the server has answered. A
// form without an answer is sent again with the same key, so that it is stored once; those behind
// it wait. A form that the server rejected steps aside as a text of its own.
// Rules: no document. Storage, sending, tabs, clock and timers are passed in.

import { goneOf, ofKind, textId } from './texts.js';
import { isDamaged, reasonOf } from './send.js';

/** @import {Gone, Kept, Sent} from './texts.js' */
/** @import {Answer} from './send.js' */
/** @import {Store} from './keep.js' */

/** The server knows a key for 24 h. Later, the same form could be stored twice. */
export const PRESS_MS = 23 * 3_600_000;
const WAITS_MS = [1_000, 2_000, 4_000, 8_000, 15_000];
/** When another tab sends the queue, look again after this time: the tab may have been closed. */
const OTHERS_MS = 5_000;

/** @param {Sent} item @returns {number} ms until it is sent again */
export const waitOf = ({ tries }) => WAITS_MS[Math.min(tries, WAITS_MS.length - 1)];

/**
 * Return the text of a form that was sent, to be opened again. It gets `spare` as its tab when
 * something else was typed in its form meanwhile, and when it was a new entry.
 *
 * @param {Sent} item @param {string} spare @param {any[]} records @returns {Kept}
 */
export function textOf({ path, pressed_at, tries, held, why, ...text }, spare, records) {
  const scope = text.id.slice(0, 2);
  const own = textId(scope, text.form, text.tab).join();
  const isTaken = text.form === 'new' || records.some((it) => it.id.join() === own);
  const tab = isTaken ? spare : text.tab;
  return { ...text, tab, id: textId(scope, text.form, tab) };
}

/**
 * Return what to write when a form was answered, and after which time to send again; null: send the
 * next one now.
 *
 * @param {Sent} item @param {Answer} answer @param {any[]} records
 * @param {{tab: string, key: string}} spare for a text that steps aside
 * @returns {{puts: (Kept | Sent | Gone)[], deletes: string[][], wait_ms: number | null}}
 */
export function settle(item, answer, records, spare) {
  const { kind, status, content } = answer;
  if (kind === 'unanswered') {
    const wait_ms = Math.max(waitOf(item), answer.wait_ms);
    const why = content.reason ?? '';
    return { puts: [{ ...item, tries: item.tries + 1, why }], deletes: [], wait_ms };
  }
  if (kind === 'signed-out' || kind === 'other-editor')
    return { puts: [item], deletes: [], wait_ms: Infinity };
  const { form, tab, id } = item;
  const gone = goneOf(id.slice(0, 2), item);
  if (kind === 'done') return { puts: [gone], deletes: [id], wait_ms: null };
  const reason = reasonOf(answer);
  if ((status === 409 && form === 'new') || isDamaged(content)) {
    return { puts: [{ ...item, held: reason }], deletes: [], wait_ms: null };
  }
  const isUsed = status === 410 || content.type?.endsWith('/idempotency-key-reused');
  const key = isUsed ? spare.key : item.key;
  const text = { ...textOf(item, spare.tab, records), key, reason, boxes: content.boxes ?? {} };
  return { puts: [text, ...(text.tab === tab ? [] : [gone])], deletes: [id], wait_ms: null };
}

/**
 * @typedef {object} World
 * @property {Store} store
 * @property {(item: Sent) => Promise<Answer>} send
 * @property {(work: () => Promise<void>) => Promise<any>} alone run the work unless another tab
 *   does
 * @property {() => {tab: string, key: string}} spare
 * @property {(name: 'old' | 'unsent' | 'maybe') => string} say a sentence for the editor
 * @property {() => number} now
 * @property {(run: () => void, wait_ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */

export class Queue {
  /** @type {any} 0: nothing waits; Infinity: until a press or a session */
  #timer = 0;
  #isDraining = false;
  #isAsked = false;
  /** @type {Sent | undefined} the form that is being sent */
  #now;
  /**
   * Called with the waiting forms, and the one that is being sent.
   *
   * @type {(items: Sent[], now?: Sent) => void}
   */
  onchange = () => {};
  /**
   * Called when a form was answered; `text` is what it became when it was rejected.
   *
   * @type {(item: Sent, answer: Answer, text: Kept | undefined) => void}
   */
  onanswer = () => {};

  /** @param {World} world */
  constructor(world) {
    this.world = world;
  }

  /** @param {Sent} item @param {string[][]} deletes texts that the item replaces */
  async add(item, deletes) {
    await this.world.store.write([item], deletes);
    await this.drain();
  }

  /** Send what waits, unless this tab or another one does. */
  async drain() {
    if (this.#isDraining) return void (this.#isAsked = true);
    this.#isDraining = true;
    try {
      do {
        this.#isAsked = false;
        this.#later(OTHERS_MS);
        await this.world.alone(() => this.#run());
      } while (this.#isAsked);
    } finally {
      this.#now = undefined;
      this.#isDraining = false;
      await this.show();
    }
  }

  /** @param {number} wait_ms as `#timer` */
  #later(wait_ms) {
    const { clearTimeout, setTimeout } = this.world;
    clearTimeout(this.#timer);
    const look = () => {
      this.#timer = 0;
      if (!this.#isDraining) this.drain();
    };
    this.#timer = wait_ms && wait_ms < Infinity ? setTimeout(look, wait_ms) : wait_ms;
  }

  async #run() {
    for (;;) {
      const items = await this.items();
      const item = (this.#now = items.find((it) => !it.held));
      this.onchange(items, item);
      if (!item) return this.#later(0);
      if (this.world.now() - item.pressed_at > PRESS_MS) {
        const held = this.world.say(item.tries ? 'old' : 'unsent');
        await this.world.store.write([{ ...item, held }]);
      } else if (!(await this.#send(item))) return;
    }
  }

  /** @param {Sent} item @returns {Promise<boolean>} whether the next one may be sent */
  async #send(item) {
    const { send, spare, store } = this.world;
    await store.write([{ ...item, tries: item.tries + 1 }]); // from now on, it may be stored
    const answer = await send(item);
    const records = await store.all();
    // The editor may have taken it back, or given it to another editor.
    const there = records.find((it) => it.id.slice(1).join() === item.id.slice(1).join());
    const sent = { ...(there ?? item), tries: item.tries };
    const { puts, deletes, wait_ms } = settle(sent, answer, records, spare());
    if (there) await store.write(puts, deletes);
    if (there || answer.kind === 'done') this.onanswer(sent, answer, ofKind(puts, 'text')[0]);
    if (wait_ms === null) return true;
    this.#later(wait_ms);
    return false;
  }

  /** @returns {Promise<Sent[]>} */
  async items() {
    return ofKind(await this.world.store.all(), 'sent');
  }

  async show() {
    const items = await this.items();
    // The tab that sends what waits may be closed.
    const isLeft = !this.#timer && !this.#isDraining && items.some((it) => !it.held);
    if (isLeft) this.#later(OTHERS_MS);
    this.onchange(items, this.#now);
  }

  /** Send at once; what waits for a press counts as pressed now. @param {Sent} item */
  async press({ id }) {
    const item = (await this.items()).find((it) => it.id.join() === id.join());
    if (item?.held)
      await this.world.store.write([{ ...item, held: '', pressed_at: this.world.now() }]);
    await this.drain();
  }

  /** Remove a form that is not answered yet, and return it as a text. @param {Sent} item */
  async takeBack(item) {
    const { say, spare, store } = this.world;
    const records = await store.all();
    // It may be sent since it was shown, or even stored.
    const now = records.find((it) => it.id.join() === item.id.join());
    const reason = now?.tries === 0 ? '' : say('maybe');
    const text = { ...textOf(item, spare().tab, records), reason };
    await store.write([text], [item.id]);
    await this.show();
    return text;
  }
}
