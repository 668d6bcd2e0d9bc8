// Times on the page: relative times by the server's clock, dates, days and time zones.
// Rules: absolute times keep the server's text, in the blog's zone, until the reader chooses their
// own zone. Today's date is hidden. The feed marks where a day ends.

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
/** A smaller error of the clock does not show in relative times. */
const WRONG_MS = 1_000;

/**
 * Return how long ago an instant was, in words. A time in the future is "now": the reader's clock
 * is wrong more often than the newsroom's.
 *
 * @param {number} then_ms @param {number} now_ms @param {string} language
 */
export function ago(then_ms, now_ms, language) {
  const age_ms = now_ms - then_ms;
  return age_ms < 60_000 ? inWords(0, language) : inWords(-age_ms, language);
}

/**
 * Return a duration in its largest unit and in words: "3 hours ago", "in 2 days".
 *
 * @param {number} ms negative for the past @param {string} language
 */
export function inWords(ms, language) {
  const words = format(language, { numeric: ms ? 'always' : 'auto' }, Intl.RelativeTimeFormat);
  const [unit, unit_ms] = UNITS.find((it) => Math.abs(ms) >= it[1]) ?? UNITS[5];
  return words.format(Math.trunc(ms / unit_ms), unit);
}

/** @param {number} a_ms @param {number} b_ms @param {string} timeZone */
export const isSameDay = (a_ms, b_ms, timeZone) =>
  dayOf(a_ms, 'en', timeZone) === dayOf(b_ms, 'en', timeZone);

/** @type {Map<string, any>} a cache: making a format takes longer than using it 100 times */
const formats = new Map();

/**
 * Return a format of class `Kind` from the cache, or make one.
 *
 * @param {string} language
 * @param {any} options The key in the cache has the language and the options, but not the class. So
 *   two classes must not get equal options.
 * @param {any} [Kind]
 */
function format(language, options, Kind = Intl.DateTimeFormat) {
  const name = language + JSON.stringify(options);
  const found = formats.get(name) ?? new Kind([language, 'en'], options);
  formats.set(name, found);
  return found;
}

/** The server writes this calendar and these digits in every language, so the scripts do too. */
const LIKE_SERVER = { calendar: 'gregory', numberingSystem: 'latn' };

/** @param {number} ms @param {string} language @param {object} options */
const written = (ms, language, options) =>
  format(language, { ...LIKE_SERVER, ...options }).format(ms).replace(/[\u202f\xa0]/g, ' ');

/** @param {number} ms @param {string} language @param {string} timeZone */
const dayOf = (ms, language, timeZone) => written(ms, language, { timeZone, dateStyle: 'full' });

/**
 * Return the time of day with the zone's name at that instant.
 *
 * @param {number} ms @param {string} language @param {string} timeZone
 */
export const clockOf = (ms, language, timeZone) =>
  written(ms, language, { timeZone, hour: 'numeric', minute: '2-digit', timeZoneName: 'short' });

/**
 * Return the `title` of a time, as the server writes it: the day, the time and the blog's zone.
 *
 * @param {number} ms @param {string} clock the time's text as the server wrote it
 * @param {string} language @param {string} zone
 */
export function titleOf(ms, clock, language, zone) {
  const title = `${dayOf(ms, language, zone)}, ${clock}`;
  return clock.endsWith(` ${zone}`) ? title : `${title} (${zone})`;
}

/** @param {any} when @param {string} text */
function writeBefore(when, text) {
  if (when.firstChild?.nodeType !== 3) when.prepend('');
  if (when.firstChild.data !== text) when.firstChild.data = text;
}

/** @param {Element | null} time */
const msOf = (time) => Date.parse(time?.getAttribute('datetime') ?? '');

/**
 * Return the result of `act`; null when `act` throws, since the browser lacks or forbids a feature.
 *
 * @param {() => any} act
 */
export function safely(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

/** Writes the times on a page, by the server's clock. */
export class Times {
  #ahead_ms = 0; // how far the server's clock is ahead of the reader's
  /** @type {WeakMap<Element, {revision: string | null, day: string}>} a cache of entries' days */
  #days = new WeakMap();
  /** The zone and language of `#days`. A new zone or language empties `#days`. */
  #dayName = '';
  /** Whether times are in the reader's zone. */
  isOwn = false;
  /** The reader's zone; null when the browser does not know it, and calls it `Etc/Unknown`. */
  ownZone = safely(() => {
    const { timeZone } = format('en', {}).resolvedOptions();
    return format('en', { timeZone }) && timeZone; // making a format of an unknown zone throws
  });

  /** @param {DOMStringMap} blog `language` and `zone` @param {() => number} now */
  constructor(blog, now) {
    this.blog = blog;
    this.now = now;
  }

  /**
   * Use the server's time from now on. Return whether the relative times must be written again.
   *
   * @param {string | null} [server_now]
   */
  correct(server_now) {
    const ahead_ms = Date.parse(server_now ?? '') - this.now();
    const wrong_ms = Math.abs(ahead_ms - this.#ahead_ms);
    if (wrong_ms >= 0) this.#ahead_ms = ahead_ms; // NaN without a time
    return wrong_ms > WRONG_MS;
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

  /** Return whether the reader's zone shows other times than the blog's, in summer or in winter. */
  differs() {
    const times = (/** @type {string} */ zone) =>
      safely(() => [0, HALF_YEAR_MS].map((it) => clockOf(this.now() + it, 'en', zone)).join());
    return !!this.ownZone && times(this.ownZone) !== times(this.blog.zone ?? '');
  }

  /** Write all times within `root`, which need not be on the page yet. @param {ParentNode} root */
  refresh(root) {
    for (const time of root.querySelectorAll('time')) safely(() => this.#place(time));
    for (const when of root.querySelectorAll('.when, .starts')) safely(() => this.#write(when));
    this.countDown(root);
  }

  /** @param {ParentNode} root */
  countDown(root) {
    for (const left of root.querySelectorAll('.countdown')) safely(() => this.#writeLeft(left));
  }

  /** @param {Element} when */
  #write(when) {
    const then_ms = msOf(when.querySelector('time'));
    const now_ms = this.#now_ms;
    if (when.matches('p.when')) writeBefore(when, `${ago(then_ms, now_ms, this.language)} / `);
    this.#date(when.querySelector('time'), now_ms);
    const updated = when.parentElement?.querySelector('.note time');
    if (updated) this.#date(updated, then_ms);
  }

  /**
   * Hide a time's date when the time is on the same day as another instant that the reader knows:
   * now, or the entry's own time.
   *
   * @param {Element | null} time @param {number} known_ms the other instant
   */
  #date(time, known_ms) {
    const isKnown = isSameDay(msOf(time), known_ms, this.zone);
    time?.querySelector('.date')?.toggleAttribute('hidden', isKnown);
  }

  /**
   * Write an absolute time in the reader's zone, or the blog's, as chosen.
   *
   * @param {HTMLElement} time
   */
  #place(time) {
    const [clock, date] = [/** @type {any} */ (time.firstChild), time.querySelector('.date')];
    const { dataset } = time;
    if (this.isOwn) {
      dataset.clock ??= clock.data;
      if (date) dataset.date ??= date.textContent ?? '';
      const at_ms = msOf(time);
      clock.data = clockOf(at_ms, this.language, this.zone);
      const options = { timeZone: this.zone, dateStyle: 'long' };
      if (date) date.textContent = ` · ${written(at_ms, this.language, options)}`;
    } else if (dataset.clock) {
      clock.data = dataset.clock;
      if (date) date.textContent = dataset.date ?? '';
    }
    // A frame leaves out the title of a time, so write the title here, in the blog's zone.
    time.title ||= titleOf(
      msOf(time),
      dataset.clock ?? clock.data,
      this.language,
      this.blog.zone ?? 'UTC',
    );
  }

  /** @param {Element} left */
  #writeLeft(left) {
    const left_ms = msOf(left.parentElement?.querySelector('time') ?? null) - this.#now_ms;
    left.textContent = left_ms > 0 ? ` (${inWords(left_ms, this.language)})` : '';
  }

  /**
   * Return an entry's day, from a cache: each change asks for the days of all entries in the feed.
   *
   * @param {HTMLElement} entry
   */
  #dayOf(entry) {
    const revision = entry.getAttribute('data-revision');
    const known = this.#days.get(entry);
    if (known?.revision === revision) return known.day;
    const day = dayOf(msOf(entry.querySelector('time')), this.language, this.zone);
    this.#days.set(entry, { revision, day });
    return day;
  }

  /**
   * Mark each visible entry whose day differs from that of the entry above.
   *
   * @param {Element} feed
   */
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
