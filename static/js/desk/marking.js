// Marks: a mark replaces a part of the text, then selects the words it stands at.
// Rules: pure. docs/api.md has the list of marks.

/** @typedef {'bold' | 'italic' | 'link' | 'quote' | 'list'} Mark */
/**
 * @typedef {object} Step a change of a text: `text` replaces the characters from `start` to `end`,
 *   then those from `from` to `to` are selected
 * @property {number} start
 * @property {number} end
 * @property {string} text
 * @property {number} from
 * @property {number} to
 */

const SIGNS = { bold: '**', italic: '*' };
const PREFIXES = { quote: '> ', list: '- ' };
/** A line: the marks of lists, quotes and headings before its words, its words, blanks. */
const LINE = /^(\s*(?:(?:[-*+]|\d+[.)]|>|#{2,3}) )*\s*)(.*?)(\s*)$/;
/** Two characters of one word. Chinese and Japanese words have no limits. */
const IN_WORD = /^((?![\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3])[\p{L}\p{M}\p{N}_]){2}$/u;
const ADDRESS = /^(?:https?:\/\/|www\.|mailto:|tel:)\S+$/;

/**
 * Return the step that sets a mark on the selection, or removes the mark when all of it is marked.
 *
 * @param {string} value the whole text @param {number} start of the selection @param {number} end
 * @param {Mark} mark
 * @returns {Step}
 */
export function marked(value, start, end, mark) {
  if (mark === 'link') return linked(value, start, end);
  if (mark === 'quote' || mark === 'list') return prefixed(value, start, end, PREFIXES[mark]);
  return starred(value, start, end, SIGNS[mark]);
}

/** @param {string} value @param {number} start @param {number} end @returns {Step} */
function linked(value, start, end) {
  start += value.slice(start, end).search(/\S|$/);
  const words = value.slice(start, end).trimEnd();
  const isAddress = ADDRESS.test(words);
  const address = isAddress ? words : 'https://';
  const text = `[${isAddress ? '' : words}](${address})`;
  const isReady = isAddress || !words;
  const from = start + (isReady ? 1 : words.length + 3);
  const to = isReady ? from : from + address.length;
  return { start, end: start + words.length, text, from, to };
}

/**
 * Set or remove a prefix of each line that the selection touches.
 *
 * @param {string} value @param {number} start @param {number} end @param {string} prefix
 * @returns {Step}
 */
function prefixed(value, start, end, prefix) {
  const first = value.lastIndexOf('\n', start - 1) + 1;
  const next = value.indexOf('\n', end);
  const last = next < 0 ? value.length : next;
  const lines = value.slice(first, last).split('\n');
  const isSet = lines.every((line) => !line || line.startsWith(prefix));
  const isBlank = lines.length === 1 && !lines[0];
  const text = lines
    .map((line) => {
      if (isSet && !isBlank) return line.slice(prefix.length);
      return (line || isBlank) && !line.startsWith(prefix) ? prefix + line : line;
    })
    .join('\n');
  const to = first + text.length;
  return { start: first, end: last, text, from: start === end ? to : first, to };
}

/** @param {string} text @param {string} sign whether the text begins and ends with it */
function hasSign(text, sign) {
  const before = /^\**/.exec(text)?.[0].length ?? 0;
  const after = /\**$/.exec(text)?.[0].length ?? 0;
  const count = text.length > before ? Math.min(before, after) : 0;
  return sign === '**' ? count > 1 : count % 2 === 1;
}

/**
 * Set or remove asterisks around the words of each line: a mark does not reach over an empty line.
 *
 * @param {string} value @param {number} start @param {number} end @param {string} sign
 * @returns {Step}
 */
function starred(value, start, end, sign) {
  while (value[start - 1] === '*' && value[end] === '*') [start, end] = [start - 1, end + 1];
  const chosen = value.slice(start, end);
  if (/^\**$/.test(chosen)) {
    const text = chosen ? '' : sign + sign;
    const at = start + text.length / 2;
    return { start, end, text, from: at, to: at };
  }
  // In the middle of a word, asterisks are text.
  while (IN_WORD.test(value.slice(start - 1, start + 1))) start -= 1;
  while (IN_WORD.test(value.slice(end - 1, end + 1))) end += 1;
  const lines = value.slice(start, end).split('\n').map((line) => /** @type {string[]} */ (LINE.exec(line)));
  const isSet = lines.every(([, , words]) => !words || hasSign(words, sign));
  const text = lines
    .map(([, before, words, after]) => {
      const isMarked = hasSign(words, sign);
      if (isSet) words = words.slice(sign.length, words.length - sign.length);
      else if (words && !isMarked) words = sign + words + sign;
      return before + words + after;
    })
    .join('\n');
  const inner = lines.length > 1 || isSet ? 0 : sign.length;
  const lead = lines[0][1].length + inner;
  const tail = lines[lines.length - 1][3].length + inner;
  return { start, end, text, from: start + lead, to: start + text.length - tail };
}

/**
 * Return where a part of a text is after a change: the part from `start` to `end` of `before` is in
 * `now` from the returned place on. Return -1 when the part itself was changed.
 *
 * @param {string} before @param {string} now @param {number} start @param {number} end
 */
export function movedTo(before, now, start, end) {
  const part = before.slice(start, end);
  if (now.startsWith(before.slice(0, end))) return start;
  if (now.endsWith(before.slice(start))) return now.length - (before.length - start);
  const found = now.indexOf(part);
  return part && found === now.lastIndexOf(part) ? found : -1;
}
