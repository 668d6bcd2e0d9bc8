// Scrolls an opened page to the linked entry, to the first unread entry, or to the reader's earlier
// scroll position.

import { recall, remember } from './memory.js';

/** @import {Live} from './live.js' */

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Whether the reader came by a link, not by reloading or going back. */
const isArrival =
  /** @type {any} */ (performance.getEntriesByType('navigation')[0])?.type === 'navigate';
const pageKey = () => location.pathname + location.search;

/**
 * @param {boolean} isAuto true: the browser restores the scroll position; false: this module does
 */
export function leaveToBrowser(isAuto) {
  history.scrollRestoration = isAuto ? 'auto' : 'manual';
}

/** Saves the scroll position, and scrolls to entries. */
export class Place {
  /** @param {Live} live @param {string} blogUrl */
  constructor(live, blogUrl) {
    this.live = live;
    this.blogUrl = blogUrl;
  }

  get #feed() {
    return this.live.view.feed;
  }

  /** Scroll to the entry in the page's address, or to the saved scroll position. */
  open() {
    const { permalink } = this.live.main.dataset;
    const [, unread] = /^#unread-(\d{1,15})$/.exec(location.hash) ?? [];
    if (unread) this.#showUnread(Number(unread));
    else if (permalink) this.#showLinked(permalink);
    else if (isArrival) this.#goToLinked();
    if (!isArrival) this.#restore();
  }

  /** Go to the entry in the address: on this page, or else on the entry's own page. */
  follow() {
    this.goTo(location.hash.slice(1));
    this.#goToLinked();
  }

  /**
   * Scroll to an entry on this page. When the entry is hidden, show all waiting entries first.
   *
   * @param {string} id
   */
  goTo(id) {
    if (byId(id)?.hidden) this.live.view.reveal();
    byId(id)?.scrollIntoView({ behavior: 'instant' });
  }

  /** Save the scroll position. */
  keep() {
    const { list, entries } = this.#feed;
    const seen = entries.find((it) => it.getBoundingClientRect().bottom > 0);
    remember('sessionStorage', pageKey(), {
      lowest: this.live.timeline.lowest ?? 0,
      // While the reader is above the feed, no entry is saved: the browser then restores the
      // position by itself.
      id: list.getBoundingClientRect().top < 0 && seen?.id,
      top: seen?.getBoundingClientRect().top,
      y: scrollY, // the fallback when the entry was deleted
    });
  }

  /**
   * Restore the scroll position when a reader returns to a reloaded page. Older pages are loaded
   * first. New entries above the saved entry do not shift it on the screen.
   */
  async #restore() {
    const kept = recall('sessionStorage', pageKey());
    leaveToBrowser(!kept?.id); // if we scroll, the browser must not scroll again
    if (kept?.lowest < (this.live.timeline.lowest ?? 0)) await this.live.reach(kept.lowest);
    if (!kept?.id) return;
    const top = byId(kept.id)?.getBoundingClientRect().top ?? kept.top + kept.y - scrollY;
    scrollBy({ top: top - kept.top, behavior: 'instant' });
  }

  /** @param {number} from the `order` (offset of first publication) of the first unread entry */
  async #showUnread(from) {
    // Remove the position (`?at=`) from the address, so that a reload shows the newest state.
    history.replaceState(history.state, '', location.pathname);
    await this.live.reach(from);
    const unread = this.#feed.entries.filter((it) => Number(it.dataset.order) >= from);
    const first = this.#feed.isUp ? unread[0] : unread.at(-1);
    if (first) this.#feed.goTo(first);
  }

  /** Go to the page of the linked entry when this page does not contain the entry. */
  #goToLinked() {
    const [, id] = /^#(e\w{12})$/.exec(location.hash) ?? [];
    if (id && !byId(id)) location.replace(`${this.blogUrl}/entries/${id}`);
  }

  /** @param {string} id */
  #showLinked(id) {
    byId(id)?.classList.add('linked');
    if (isArrival) byId(id)?.scrollIntoView();
  }
}
