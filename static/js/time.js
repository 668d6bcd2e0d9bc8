// Relative times, by the server's clock, before the server's absolute ones. Rules: its text is
// never rewritten; only a date that is today's in the blog's zone is hidden.

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ['year', 31_557_600_000],
  ['month', 2_629_800_000],
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];
const REFRESH_MS = 30_000;

/**
 * "now" also for the future: a reader's clock is wrong more often than a newsroom's.
 *
 * @param {number} then_ms @param {number} now_ms @param {string} language
 */
export function ago(then_ms, now_ms, language) {
  const age_ms = now_ms - then_ms;
  for (const [unit, unit_ms] of UNITS) {
    if (age_ms < unit_ms) continue;
    return new Intl.RelativeTimeFormat(language).format(-Math.floor(age_ms / unit_ms), unit);
  }
  return new Intl.RelativeTimeFormat(language, { numeric: 'auto' }).format(0, 'second');
}

/** @param {number} a_ms @param {number} b_ms @param {string} timeZone */
export function isSameDay(a_ms, b_ms, timeZone) {
  const day = new Intl.DateTimeFormat('en', { timeZone, dateStyle: 'short' });
  return day.format(a_ms) === day.format(b_ms);
}

/** @param {any} when @param {string} text */
function writeBefore(when, text) {
  if (when.firstChild?.nodeType !== 3) when.prepend('');
  if (when.firstChild.data !== text) when.firstChild.data = text;
}

export class Times {
  #ahead_ms = 0;

  /** @param {DOMStringMap} blog `language` and `zone` @param {() => number} now */
  constructor(blog, now) {
    this.blog = blog;
    this.now = now;
  }

  /** @param {string | null} server_now */
  correct(server_now) {
    if (server_now) this.#ahead_ms = Date.parse(server_now) - this.now();
  }

  /** @param {ParentNode} root may not be part of the page yet */
  refresh(root) {
    const { language = 'en', zone = 'UTC' } = this.blog;
    const now_ms = this.now() + this.#ahead_ms;
    for (const when of root.querySelectorAll('.when')) {
      const [time, date] = ['time', '.date'].map((it) => when.querySelector(it));
      const then_ms = Date.parse(time?.getAttribute('datetime') ?? '');
      try {
        if (when.matches('p')) writeBefore(when, `${ago(then_ms, now_ms, language)} / `);
        date?.toggleAttribute('hidden', isSameDay(then_ms, now_ms, zone));
      } catch {
        // A zone or language unknown to this browser: the server's text stands.
      }
    }
  }

  /** @param {ParentNode} root @param {{setInterval: typeof setInterval}} world */
  keep(root, world) {
    this.refresh(root);
    world.setInterval(() => this.refresh(root), REFRESH_MS);
  }
}
