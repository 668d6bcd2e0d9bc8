// The records in which this browser keeps what an editor typed, and the choice of the texts that
// are left over.
// Rules: pure. No document, no clock, no network, no storage.

/** @typedef {Record<string, string | string[]>} Values a form's boxes (input fields), by name */
/** @typedef {string[]} Scope the editor and the blog to which records belong */
/**
 * @typedef {object} Text what was typed in one form
 * @property {string} form `new`, `header`, an entry's id, or a name that only this browser keeps
 * @property {string} tab the tab that wrote it
 * @property {Values} values
 * @property {Values} [shown] the values that the form had before
 * @property {number | null} base the revision on which the text is based
 * @property {string} key its Idempotency-Key
 * @property {number} typed_at ms since 1970
 * @property {string} [former] the editor who typed it, when another one sends it
 * @property {string} [reason] why the server rejected it, or why it is apart
 * @property {Record<string, string>} [boxes] reasons at single boxes
 */
/** @typedef {Text & {id: string[]}} Kept a text in this browser; see `textId` */
/**
 * @typedef {object} Press what belongs to a form that was sent
 * @property {string} path to which it is sent
 * @property {number} pressed_at ms since 1970
 * @property {number} tries how often it was sent without an answer that decides
 * @property {string} held why it waits for a press; '' when it does not
 * @property {string} why what the server said instead of an answer
 */
/** @typedef {Kept & Press} Sent a form that was sent, until it is answered */
/** @typedef {{id: string[], typed_at: number}} Gone copies up to this time are no longer wanted */
/** @typedef {Text & {id?: string[]}} Offer a text that is left over; on the server without `id` */

/** Boxes without words of an editor: ticks, choices, and what belongs to one save. */
const WORDLESS = /_was$|^(key|pinned|status|revision|note_kind|published_at|undo|zone)$/;

/** @param {Scope} scope @param {string} form @param {string} tab */
export const textId = (scope, form, tab) => [...scope, 'text', form, tab];
/** @param {Scope} scope @param {string} form @param {string} tab */
export const goneId = (scope, form, tab) => [...scope, 'gone', form, tab];
/** @param {Scope} scope @param {Pick<Text, 'form' | 'tab' | 'typed_at'>} text @returns {Gone} */
export const goneOf = (scope, { form, tab, typed_at }) => ({
  id: goneId(scope, form, tab),
  typed_at,
});
/** @param {Scope} scope @param {number} pressed_at @param {string} key */
export const sentId = (scope, pressed_at, key) => [
  ...scope,
  'sent',
  `${pressed_at}`.padStart(15, '0'),
  key,
];

/** @param {any[]} records @param {'text' | 'gone' | 'sent'} kind @returns {any[]} ordered by id */
export const ofKind = (records, kind) => records.filter((it) => it.id[2] === kind);

/**
 * Return the texts of all boxes of one name, one after the other; empty ones do not count.
 *
 * @param {string | string[] | undefined} value
 */
const lines = (value) => [value ?? ''].flat().filter(Boolean).join('\n').replace(/\r\n?/g, '\n');

/** @param {string | string[] | undefined} a @param {string | string[] | undefined} b */
export const isSameText = (a, b) => lines(a) === lines(b);

/**
 * Return whether the values are the same as those `shown`.
 *
 * @param {Values} values @param {Values} shown
 */
export const isSame = (values, shown) =>
  Object.keys(values).every((name) => isSameText(values[name], shown[name]));

/** @param {Values} values @param {string[]} names @returns {Values} the values of these boxes */
export const pick = (values, names) => Object.fromEntries(names.map((it) => [it, values[it]]));

/**
 * Return the values that an editor altered, with their `_was` boxes. The others may be newer in a
 * form that was loaded later.
 *
 * @param {Values} values @param {Values} [shown]
 */
export function alteredOf(values, shown) {
  const before = (/** @type {string} */ name) => values[`${name}_was`] ?? shown?.[name];
  const isAltered = (/** @type {string} */ name) =>
    before(name) === undefined || !isSameText(values[name], before(name));
  return pick(
    values,
    Object.keys(values).filter((name) => isAltered(name.replace(/_was$/, ''))),
  );
}

/**
 * Return the words that an editor typed, by box.
 *
 * @param {{values: Values, shown?: Values}} text
 * @returns {[string, string][]}
 */
export const typedIn = ({ values, shown }) =>
  Object.entries(alteredOf(values, shown))
    .map(([name, value]) => /** @type {[string, string]} */ ([name, lines(value)]))
    .filter(([name, text]) => text.trim() && !WORDLESS.test(name));

/**
 * Return whether the given values have each box that a text altered, also one that it emptied, as
 * the text has it: then the text may go.
 *
 * @param {Text} text @param {Values} values
 */
export const isContained = (text, values) =>
  Object.keys(alteredOf(text.values, text.shown)).every(
    (name) => WORDLESS.test(name) || isSameText(text.values[name], values[name]),
  );

/**
 * Return the first words that were typed, to name a text.
 *
 * @param {{values: Values, shown?: Values}} text
 */
export function wordsOf(text) {
  const { headline, body } = text.values;
  const texts = [...typedIn(text).map(([, typed]) => typed), lines(headline), lines(body)];
  const first = texts.find((it) => it.trim()) ?? '';
  const line = first.trim().split('\n')[0];
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}

/**
 * Return the first words of the entry that a text edits, as the editor found the entry.
 *
 * @param {{values: Values, shown?: Values}} text
 */
export function editedBy({ values, shown }) {
  const before = (/** @type {string} */ it) => values[`${it}_was`] ?? shown?.[it] ?? values[it];
  return wordsOf({ values: { headline: before('headline'), body: before('body') } });
}

/**
 * Return the value of a box in the words that an editor sees there.
 *
 * @param {any} box @param {string | string[]} value
 */
export function shownAs({ type, options = [] }, value) {
  if (type === 'checkbox') return value === 'true' ? 'Yes' : 'No';
  const chosen = [...options].find((it) => it.value === value);
  return chosen?.text ?? [value].flat().join('\n');
}

/**
 * Return a text's values for another machine, with the values before them of the altered boxes.
 *
 * @param {Text} text @returns {Values}
 */
export function valuesToCopy({ values, shown = {} }) {
  const names = Object.keys(alteredOf(values, shown)).filter(
    (name) => name in shown && !name.endsWith('_was'),
  );
  return { ...Object.fromEntries(names.map((name) => [`${name}_was`, shown[name]])), ...values };
}

/**
 * Return the texts that are left over, the newest first: those of tabs that are closed, those of
 * this tab's closed forms, and the server's copies that this browser lacks.
 *
 * @param {any[]} records of this browser
 * @param {Text[]} copies of the server
 * @param {(form: string, tab: string) => boolean} isInUse whether a living tab shows the text
 * @returns {Offer[]}
 */
export function leftOver(records, copies, isInUse) {
  const texts = /** @type {Kept[]} */ (ofKind(records, 'text'));
  const offers = [...texts, ...copies.filter((copy) => isWanted(copy, records))];
  return offers
    .filter(({ form, tab }) => !isInUse(form, tab))
    .sort((a, b) => b.typed_at - a.typed_at);
}

/**
 * Return whether a copy of the server has what this browser lacks: it was neither sent nor dropped
 * here, and no text of the same form and tab was typed here later.
 *
 * @param {Text} copy @param {any[]} records
 */
export function isWanted({ form, tab, key, typed_at }, records) {
  const isSent = ofKind(records, 'sent').some((it) => it.key === key);
  const isHere = records.some(
    (it) => it.id[2] !== 'sent' && it.id[3] === form && it.id[4] === tab && it.typed_at >= typed_at,
  );
  return !isSent && !isHere;
}
