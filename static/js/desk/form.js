// Converts the values of the desk's forms to the API's fields, and the API's answers to sentences
// for editors.
// Rules: pure. No document, no clock, no network, no storage.

/** @typedef {Record<string, string>} Values the values of a form's boxes (input fields), by name */
/** @typedef {{pointer: string, detail: string}} FieldError */
/**
 * @typedef {object} Problem an error answer of the API, as in RFC 9457; `errors` and `current` are
 *   our additions
 * @property {string} [type]
 * @property {string} [detail]
 * @property {FieldError[]} [errors]
 * @property {Entry} [current] after a conflict: the stored entry
 */
/**
 * @typedef {object} Entry the members of the API's entry that the desk uses
 * @property {string} id
 * @property {string | null} headline
 * @property {string | null} body
 * @property {string[]} byline
 * @property {string | null} dateline
 * @property {string | null} key_title
 * @property {string} status
 * @property {number} revision
 */
/**
 * @typedef {'done' | 'rejected' | 'unknown' | 'unsaved' | 'conflict' | 'gone' | 'signed-out'
 *   | 'already' | 'wait'} Kind the result of a write. unknown: no answer, or an error of the
 *   server; unsaved: the store refused the write, and nothing is stored; conflict: another editor
 *   saved first; gone: the entry was deleted; already: another text was stored with
 *   the same Idempotency-Key; wait: too many requests
 */
/**
 * @typedef {object} Outcome the result of a write
 * @property {Kind} kind
 * @property {string} reason a sentence for the editor; '' when done
 * @property {Record<string, string>} fields reasons that concern one box, by the box's name
 */

/**
 * The boxes that are compared after two editors saved the same entry, with the labels of the boxes.
 */
export const TEXTS = Object.freeze({
  headline: 'Headline',
  body: 'Text',
  byline: 'Byline',
  dateline: 'Dateline',
  key_title: 'Key event title',
});

/**
 * Return the text with every line break as one line feed, the form that the API stores.
 * @param {string} text
 */
export const linesOf = (text) => text.replace(/\r\n?/g, '\n');

/**
 * Return the names in the byline's boxes, whose texts are lines of one text.
 * @param {string} text
 * @returns {string[]}
 */
export const namesOf = (text) =>
  text
    .split('\n')
    .map((name) => name.trim())
    .filter(Boolean);

/**
 * Return how far `zone` is ahead of UTC at an instant, in ms.
 * @param {number} at ms since 1970
 * @param {string} zone an IANA name
 */
function aheadOf(at, zone) {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'gregory',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  });
  /** @type {Record<string, number>} */
  const part = {};
  for (const { type, value } of format.formatToParts(at)) part[type] = Number(value);
  const wall = Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
  return wall - Math.floor(at / 1000) * 1000;
}

/**
 * Return the UTC instant of a local time in a zone; null when `local` is not a time.
 *
 * When clocks are set back, an hour comes twice: this returns the first instant. When clocks are
 * set forward, an hour is skipped: its times are read with the UTC offset before the change.
 * Python's zoneinfo with fold=0 does the same.
 * @param {string} local the value of a datetime-local box
 * @param {string} zone
 */
export function instantOf(local, zone) {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?$/.test(local)) return null;
  const wall = Date.parse(`${local}Z`);
  if (Number.isNaN(wall)) return null;
  const day = 86_400_000;
  const [before, after] = [aheadOf(wall - day, zone), aheadOf(wall + day, zone)];
  const fits = [before, after].find((ahead) => aheadOf(wall - ahead, zone) === ahead);
  return new Date(wall - (fits ?? before)).toISOString();
}

/**
 * Return the values that the editor changed. An edit sends only these values, so a colleague's
 * change to another box is not overwritten.
 *
 * @param {Values} values
 * @param {Values} base
 * @returns {Values}
 */
export function alteredOf(values, base) {
  return Object.fromEntries(Object.entries(values).filter(([name, text]) => text !== base[name]));
}

/**
 * Return an entry's fields for the API, one for each box of the form. An empty box becomes null.
 * @param {Values} values
 * @param {string} zone the blog's time zone, in which the editor wrote `publish_at`
 * @returns {Record<string, unknown>}
 */
export function entryFields(values, zone) {
  /** @type {Record<string, unknown>} */
  const fields = {};
  for (const name of ['headline', 'body', 'dateline', 'key_title', 'note_kind', 'note']) {
    if (name in values) fields[name] = textOrNull(values[name]);
  }
  if ('byline' in values) fields.byline = namesOf(values.byline);
  for (const name of ['key', 'pinned']) if (name in values) fields[name] = values[name] === 'true';
  if ('published_at' in values) fields.published_at = values.published_at || null;
  return { ...fields, ...timing(values, zone) };
}

/**
 * Return the fields `status` and `publish_at`. An entry to publish at a later time gets only
 * `publish_at`: the API then schedules the entry.
 * @param {Values} values
 * @param {string} zone
 * @returns {Record<string, unknown>}
 */
function timing(values, zone) {
  const { status = '', publish_at: local = '' } = values;
  if (!local) return status ? { status } : {};
  const publish_at = instantOf(local, zone) ?? local;
  return status === 'draft' || status === 'submitted' ? { status, publish_at } : { publish_at };
}

/**
 * Return the fields of a blog's header that the editor changed, for the API. A new time zone also
 * sends the start, because the start is read in that zone.
 *
 * @param {Values} values
 * @param {Values} base the values that the server filled in
 * @returns {Record<string, unknown>}
 */
export function headerFields(values, base) {
  /** @type {Record<string, unknown>} */
  const fields = {};
  const altered = alteredOf(values, base);
  for (const name of ['title', 'dek', 'summary', 'timezone', 'language', 'status']) {
    if (name in altered) fields[name] = textOrNull(altered[name]);
  }
  for (const name of ['full_coverage', 'successor']) {
    const [text, url] = [`${name}_text`, `${name}_url`];
    if (text in altered || url in altered) fields[name] = linkOf(values[text], values[url]);
  }
  const isMeant = 'starts_at' in altered || 'timezone' in altered;
  return 'starts_at' in values && isMeant ? { ...fields, ...startOf(values) } : fields;
}

/**
 * Return the blog's start, read in the form's time zone. Leave the start out when that zone is
 * invalid: the API then rejects the zone.
 * @param {Values} values
 */
function startOf({ starts_at: local = '', timezone = '' }) {
  if (!local.trim()) return { starts_at: null };
  try {
    return { starts_at: instantOf(local.trim(), timezone) ?? local.trim() };
  } catch {
    return {};
  }
}

/** @param {string} text */
const textOrNull = (text) => (text.trim() === '' ? null : linesOf(text));

/**
 * Return a link from its two boxes, text and address; null when both are empty.
 * @param {string} [text]
 * @param {string} [url]
 */
export function linkOf(text = '', url = '') {
  return text.trim() || url.trim() ? { text: text.trim() || url.trim(), url: url.trim() } : null;
}

/**
 * Return the name of the box that an error of the API is about: `byline` for the JSON pointer
 * /byline/0, `successor_url` for /successor/url.
 * @param {string} pointer
 */
export function boxNameOf(pointer) {
  const [, name = '', part = ''] = pointer.split('/');
  return part === 'text' || part === 'url' ? `${name}_${part}` : name;
}

/**
 * Return the outcome of a write, from the API's answer.
 * @param {number} status the HTTP status; 0 when no answer came
 * @param {Problem} problem the answer's body when it is not 2xx
 * @param {number} [retryAfterS]
 * @returns {Outcome}
 */
export function outcomeOf(status, problem, retryAfterS = 0) {
  if (status >= 200 && status < 300) return { kind: 'done', reason: '', fields: {} };
  /** @type {Record<string, string>} */
  const fields = {};
  for (const { pointer, detail } of problem.errors ?? [])
    fields[boxNameOf(pointer)] ??= sentence(detail);
  const kind = kindOf(status, problem);
  return { kind, reason: reasonOf(kind, problem, retryAfterS), fields };
}

/**
 * @param {number} status
 * @param {Problem} problem
 * @returns {Outcome['kind']}
 */
function kindOf(status, problem) {
  if (isRefused(problem)) return 'unsaved';
  if (status === 0 || status >= 500) return 'unknown';
  if (status === 401) return 'signed-out';
  if (status === 410) return 'gone';
  if (status === 412) return 'conflict';
  if (status === 429) return 'wait';
  return isReused(problem) ? 'already' : 'rejected';
}

/**
 * Return whether the API has already stored another text with the same Idempotency-Key.
 * @param {Problem} problem
 */
const isReused = (problem) => (problem.type ?? '').endsWith('/idempotency-key-reused');

const DOWN = 'Publishing is unavailable right now';
const SILENT = 'The server did not answer';
const UNKNOWN =
  'so it is unknown whether this was saved. Your text is safe here. Try again: it will not be' +
  ' published twice.';
const STORED =
  'Your first text was stored after all. Check it, and send this text again if it is still needed.';

/** @param {Problem} problem */
const isStoreDown = (problem) => (problem.type ?? '').endsWith('/store-down');

/**
 * Return whether the store refused a write before it stored any part of the write.
 * @param {Problem} problem
 */
const isRefused = (problem) => (problem.type ?? '').endsWith('/store-refuses');

/**
 * @param {Outcome['kind']} kind
 * @param {Problem} problem
 * @param {number} retryAfterS
 */
function reasonOf(kind, problem, retryAfterS) {
  switch (kind) {
    case 'unknown':
      return `${isStoreDown(problem) ? DOWN : SILENT}, ${UNKNOWN}`;
    case 'unsaved':
      return `${DOWN}. Your text is safe here. ${sentence(problem.detail ?? '')}`;
    case 'signed-out':
      return 'You are signed out. Your text is safe here. Sign in in another tab, then try again.';
    case 'gone':
      return 'Someone deleted this entry. Your text is safe here.';
    case 'conflict':
      return 'Someone saved this entry while you were editing it.';
    case 'wait':
      return `Too many requests. Try again in ${retryAfterS || 'a few'} seconds.`;
    case 'already':
      return STORED;
    default:
      return problem.detail ? sentence(problem.detail) : 'The server rejected this.';
  }
}

/**
 * Return the `detail` of an API's error as a sentence, with a capital letter and a full stop.
 * @param {string} detail
 */
export function sentence(detail) {
  const text = detail.charAt(0).toUpperCase() + detail.slice(1);
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

/**
 * Merge two editors' changes of one entry, box by box. `taken` has the boxes that only the other
 * editor changed; `both` has the boxes that both changed, for this editor to choose.
 *
 * @param {Values} mine
 * @param {Values} base the values before this editor's changes
 * @param {Entry} theirs
 * @returns {{taken: Values, both: {name: keyof typeof TEXTS, theirs: string}[]}}
 */
export function merge(mine, base, theirs) {
  /** @type {Values} */
  const taken = {};
  const both = [];
  for (const name of /** @type {(keyof typeof TEXTS)[]} */ (Object.keys(TEXTS))) {
    const [my, their] = [mine[name], textOf(theirs[name])].map((text) => text && linesOf(text));
    if (!(name in mine) || isSame(name, my, their)) continue;
    if (isSame(name, my, linesOf(base[name] ?? ''))) taken[name] = their;
    else both.push({ name, theirs: their });
  }
  return { taken, both };
}

/**
 * @param {string} name
 * @param {string} a
 * @param {string} b
 */
function isSame(name, a, b) {
  return name === 'byline' ? namesOf(a).join('\n') === namesOf(b).join('\n') : a === b;
}

/**
 * Return a box's text for a value of the API.
 * @param {string | string[] | null} value
 */
export const textOf = (value) => (Array.isArray(value) ? value.join('\n') : (value ?? ''));

/**
 * @typedef {object} Kept the state of an open form, saved in the browser to survive a crash
 * @property {Values} values
 * @property {string} key its Idempotency-Key
 */

/** The boxes for an editor's own text. A form counts as empty when all these boxes are empty. */
const WORDS = ['headline', 'body', 'dateline', 'key_title'];

/**
 * Return whether an editor has written nothing in a form.
 * @param {Values} values
 */
export const isEmpty = (values) => WORDS.every((name) => !(values[name] ?? '').trim());

/**
 * Return a form's saved state from its JSON; null when the JSON has not the type Kept, or when
 * the form was empty.
 * @param {string | null} stored
 * @returns {Kept | null}
 */
export function keptOf(stored) {
  try {
    const { values, key } = JSON.parse(stored ?? 'null');
    const whole =
      typeof key === 'string' && Object.values(values).every((v) => typeof v === 'string');
    return whole && !isEmpty(values) ? { values, key } : null;
  } catch {
    return null;
  }
}
