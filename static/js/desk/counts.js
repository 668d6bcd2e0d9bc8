// The number of characters that are left, when a box is nearly full.

/** The part of a limit that shows no number. */
const QUIET = 0.9;
/** The number of characters from which on each one is announced. */
const SOON = 10;

/** @param {HTMLFormElement} form */
export function showCounts(form) {
  for (const box of form.querySelectorAll('[data-limit]')) showCount(box);
}

/** Show how many characters a box has left, or too many. @param {any} box */
export function showCount(box) {
  const limit = Number(box.dataset?.limit);
  if (!limit) return;
  const old = box.nextElementSibling?.matches('.count') ? box.nextElementSibling : null;
  if (box.value.length <= limit * QUIET) return void old?.remove();
  const left = limit - [...box.value].length; // the server counts code points, too
  const line = old ?? document.createElement('p');
  line.className = 'count';
  line.toggleAttribute('data-over', left < 0);
  line.ariaLive = left > SOON ? 'off' : 'polite'; // a screen reader would say each number
  const many = Math.abs(left);
  line.textContent = `${many} character${many === 1 ? '' : 's'} ${left < 0 ? 'too many' : 'left'}`;
  if (!old) box.after(line);
}
