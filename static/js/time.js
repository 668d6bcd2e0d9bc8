// Relative times, by the server's clock, before the server's absolute ones. Rules: the server's
// text stands, in the blog's zone, unless the reader asks for their own; a date that is today's is
// hidden, and days are told apart in the feed.

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ['year', 31_557_600_000],
  ['month', 2_629_800_000],
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1_000],
];

const HALF_YEAR_MS = 183 * 86_400_000;

/**
 * "now" also for the future: a reader's clock is wrong more often than a newsroom's.
 *
 * @param {number} then_ms @param {number} now_ms @param {string} language
 */
export function ago(then_ms, now_ms, language) {
  const age_ms = now_ms - then_ms;
  return age_ms < 60_000 ? inWords(0, language) : inWords(-age_ms, language);
}

/** In the largest unit that fits. @param {number} ms from now on @param {string} language */
export function inWords(ms, language) {
  const words = format(language, { numeric: ms ? 'always' : 'auto' }, Intl.RelativeTimeFormat);
  const [unit, unit_ms] = UNITS.find((it) => Math.abs(ms) >= it[1]) ?? UNITS[5];
  return words.format(Math.trunc(ms / unit_ms), unit);
}

/** @param {number} a_ms @param {number} b_ms @param {string} timeZone */
export const isSameDay = (a_ms, b_ms, timeZone) =>
  dayOf(a_ms, 'en', timeZone) === dayOf(b_ms, 'en', timeZone);

/** @type {Map<string, any>} making one takes longer than using it a hundred times */
const formats = new Map();

/**
 * @param {string} language @param {any} options which no two kinds share
 * @param {any} [Kind]
 */
function format(language, options, Kind = Intl.DateTimeFormat) {
  const name = language + JSON.stringify(options);
  const found = formats.get(name) ?? new Kind([language, 'en'], options);
  formats.set(name, found);
  return found;
}

/** @param {number} ms @param {string} language @param {string} timeZone */
const dayOf = (ms, language, timeZone) => format(language, { timeZone, dateStyle: 'full' }).format(ms);

/** The time of day with the zone's name at that instant. @param {number} ms @param {string} language @param {string} timeZone */
export const clockOf = (ms, language, timeZone) =>
  format(language, { timeZone, hour: 'numeric', minute: '2-digit', timeZoneName: 'short' }).format(ms);

/** @param {any} when @param {string} text */
function writeBefore(when, text) {
  if (when.firstChild?.nodeType !== 3) when.prepend('');
  if (when.firstChild.data !== text) when.firstChild.data = text;
}

/** @param {Element | null} time */
const instantOf = (time) => Date.parse(time?.getAttribute('datetime') ?? '');

/** Nothing where this browser does not know, or forbids, what is needed. @param {() => any} act */
export function safely(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

export class Times {
  #ahead_ms = 0;
  /** @type {WeakMap<Element, {revision: string | null, day: string}>} */
  #days = new WeakMap();
  /** In which zone and language they are told. */
  #dayName = '';
  /** In the reader's zone. */
  isOwn = false;
  ownZone = format('en', {}).resolvedOptions().timeZone;

  /** @param {DOMStringMap} blog `language` and `zone` @param {() => number} now */
  constructor(blog, now) {
    this.blog = blog;
    this.now = now;
  }

  /** @param {string | null} [server_now] */
  correct(server_now) {
    if (server_now) this.#ahead_ms = Date.parse(server_now) - this.now();
  }

  get #now_ms() {
    return this.now() + this.#ahead_ms;
  }

  get language() {
    return this.blog.language ?? 'en';
  }

  get zone() {
    return this.isOwn ? this.ownZone : (this.blog.zone ?? 'UTC');
  }

  /** Whether the reader's zone shows other times, in summer or in winter. */
  differs() {
    const times = (/** @type {string} */ zone) =>
      safely(() => [0, HALF_YEAR_MS].map((it) => clockOf(this.now() + it, 'en', zone)).join());
    return times(this.ownZone) !== times(this.blog.zone ?? '');
  }

  /** @param {ParentNode} root may not be part of the page yet */
  refresh(root) {
    for (const time of root.querySelectorAll('time')) safely(() => this.#place(time));
    for (const when of root.querySelectorAll('.when, .starts')) safely(() => this.#tell(when));
    this.countDown(root);
  }

  /** @param {ParentNode} root */
  countDown(root) {
    for (const left of root.querySelectorAll('.countdown')) safely(() => this.#tellLeft(left));
  }

  /** @param {Element} when */
  #tell(when) {
    const then_ms = instantOf(when.querySelector('time'));
    const now_ms = this.#now_ms;
    if (when.matches('p.when')) writeBefore(when, `${ago(then_ms, now_ms, this.language)} / `);
    this.#date(when.querySelector('time'), now_ms);
    const updated = when.parentElement?.querySelector('.note time');
    if (updated) this.#date(updated, then_ms);
  }

  /** Leave out the date where it is known. @param {Element | null} time @param {number} known_ms an instant of that day */
  #date(time, known_ms) {
    const isKnown = isSameDay(instantOf(time), known_ms, this.zone);
    time?.querySelector('.date')?.toggleAttribute('hidden', isKnown);
  }

  /** Put an absolute time into the reader's zone, or back into the blog's. @param {HTMLElement} time */
  #place(time) {
    const [clock, date] = [/** @type {any} */ (time.firstChild), time.querySelector('.date')];
    const { dataset } = time;
    if (this.isOwn) {
      dataset.clock ??= clock.data;
      if (date) dataset.date ??= date.textContent ?? '';
      const at_ms = instantOf(time);
      clock.data = clockOf(at_ms, this.language, this.zone);
      const options = /** @type {const} */ ({ timeZone: this.zone, dateStyle: 'long' });
      if (date) date.textContent = ` · ${format(this.language, options).format(at_ms)}`;
    } else if (dataset.clock) {
      clock.data = dataset.clock;
      if (date) date.textContent = dataset.date ?? '';
    }
  }

  /** @param {Element} left */
  #tellLeft(left) {
    const left_ms = instantOf(left.parentElement?.querySelector('time') ?? null) - this.#now_ms;
    left.textContent = left_ms > 0 ? ` (${inWords(left_ms, this.language)})` : '';
  }

  /** The day of an entry; a page of 500 is looked through with every change. @param {HTMLElement} entry */
  #dayOf(entry) {
    const revision = entry.getAttribute('data-revision');
    const known = this.#days.get(entry);
    if (known?.revision === revision) return known.day;
    const day = dayOf(instantOf(entry.querySelector('time')), this.language, this.zone);
    this.#days.set(entry, { revision, day });
    return day;
  }

  /** Mark entries of another day than the entry before. @param {Element} feed */
  separate(feed) {
    const name = `${this.zone} ${this.language}`;
    if (name !== this.#dayName) this.#days = new WeakMap();
    this.#dayName = name;
    safely(() => {
      let before = '';
      for (const entry of /** @type {any} */ (feed.children)) {
        if (entry.hasAttribute('hidden')) continue;
        const day = this.#dayOf(entry);
        if (before && day !== before) entry.dataset.day = day;
        else entry.removeAttribute('data-day');
        before = day;
      }
    });
  }
}
