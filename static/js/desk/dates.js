// Times of the desk's boxes, in words.
// Rules: pure. Clocks are passed in.

/**
 * Return the time of a `datetime-local` box in words, without what is the same today.
 *
 * @param {string} local @param {string} [zone] of the blog
 */
export function atTime(local, zone, now = Date.now()) {
  const [day, clock] = [local.slice(0, 10), local.slice(11, 16)];
  const today = todayIn(zone, now);
  if (day === today) return clock;
  const year = day.startsWith(today.slice(0, 4)) ? undefined : 'numeric';
  const options = /** @type {any} */ ({ timeZone: 'UTC', day: 'numeric', month: 'short', year });
  const date = new Date(`${day}T00:00Z`).toLocaleDateString('en-GB', options);
  return `${date}, ${clock}`;
}

/**
 * Return the date of today; '' when the browser does not know the zone.
 *
 * @param {string | undefined} zone @param {number} now
 */
function todayIn(zone, now) {
  try {
    return new Intl.DateTimeFormat('sv', { timeZone: zone }).format(now); // 2026-11-30
  } catch {
    return '';
  }
}
