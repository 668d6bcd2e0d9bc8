// The preview of an entry, which the server makes while the editor types.
// Rules: one request at a time, and at most four in a second. The preview is in a shadow tree. The
// desk's scripts do not find it there, and only the reader's styles match.

import { one, say } from './boxes.js';
import { ask } from './send.js';
import { isHostile, morph, parseHtml } from '../morph.js';

const PREVIEW_GAP_MS = 250;
/** The requests of all previews of this page, one after the other. */
let turn = Promise.resolve();

export class Preview {
  #isBusy = false;
  #isStale = false;
  #shown = document.createElement('div');

  /** @param {HTMLFormElement} form with a `.preview` */
  constructor(form) {
    this.form = form;
    this.panel = /** @type {HTMLElement} */ (form.querySelector('.preview'));
    this.address = form.action.replace(/\/entries.*/, '/preview');
    const root = this.panel.querySelector('.shown')?.attachShadow({ mode: 'open' });
    // With the styles of entries.
    root?.append(one('[rel=stylesheet]').cloneNode(), this.#shown);
  }

  get isOpen() {
    return this.panel.offsetWidth > 0;
  }

  /** Show the form's present text, now or as soon as the last request is answered. */
  async refresh() {
    if (!this.isOpen) return;
    this.#isStale = true;
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#isStale) await (turn = turn.then(() => this.#step()));
    this.#isBusy = false;
  }

  async #step() {
    this.#isStale = false;
    const loaded = this.#load().catch(() => this.#show(null, say('unshown')));
    await new Promise((done) => setTimeout(done, PREVIEW_GAP_MS));
    await loaded;
  }

  async #load() {
    const boxes = new URLSearchParams(/** @type {any} */ (new FormData(this.form)));
    boxes.set('kind', 'entry');
    boxes.delete('editor'); // after "Publish as …" the form still has the name of the other editor
    if (this.form.dataset.status === 'retracted') boxes.set('status', 'retracted');
    if (!boxes.get('headline')?.trim() && !boxes.get('body')?.trim()) return this.#show('', '');
    const init = { method: 'POST', body: boxes };
    const { kind, status, content } = await ask(this.address, init, '');
    if (kind === 'done') return this.#show(content.html, '');
    const reason = Object.values(content.boxes ?? {})[0] ?? content.reason ?? say('unshown');
    if (status !== 429) return this.#show(null, reason);
    this.#isStale = true; // the server is busy with this editor's other tab
  }

  /** @param {string | null} html null to leave what is shown @param {string} reason */
  #show(html, reason) {
    const line = /** @type {HTMLElement} */ (this.panel.querySelector('.why'));
    line.hidden = !reason;
    line.textContent = reason;
    const fresh = html === null ? null : parseHtml(html);
    if (!fresh || isHostile(fresh)) return;
    // The entry has no page yet, and a link must not leave the desk.
    fresh.firstElementChild?.removeAttribute('id');
    const when = fresh.querySelector('.when');
    if (this.form.dataset.entry) when?.remove(); // an edit leaves the time of publication
    when?.firstElementChild?.removeAttribute('href');
    for (const link of fresh.querySelectorAll('a[href]')) link.setAttribute('target', '_blank');
    const holder = document.createElement('div');
    holder.append(fresh);
    morph(this.#shown, holder);
  }
}
