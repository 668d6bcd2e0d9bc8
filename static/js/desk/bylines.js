// The boxes of a byline: one for each name.

/** @param {ParentNode} form @returns {HTMLInputElement[]} */
const nameBoxes = (form) => [.../** @type {any} */ (form.querySelectorAll('input[name=byline]'))];

/** @param {ParentNode} form */
export const bylineOf = (form) =>
  nameBoxes(form)
    .map((box) => box.value.trim())
    .filter(Boolean);

/**
 * Add boxes until there are `count`, as far as the limit of names allows.
 *
 * @param {ParentNode} form @param {number} count
 */
export function growByline(form, count) {
  const boxes = nameBoxes(form);
  const last = boxes[boxes.length - 1];
  const max = Number(last?.closest('.names')?.getAttribute('data-max'));
  for (let n = boxes.length; n < Math.min(count, max); n++) {
    const box = /** @type {HTMLInputElement} */ (last.cloneNode());
    for (const name of ['id', 'aria-describedby', 'aria-invalid', 'value'])
      box.removeAttribute(name);
    box.value = '';
    box.setAttribute('aria-label', 'Another name');
    nameBoxes(form)[n - 1].after(box);
  }
}

/** Keep an empty box at the end, while the editor types names. @param {ParentNode} form */
export function roomForNames(form) {
  const boxes = nameBoxes(form);
  if (boxes.length && boxes[boxes.length - 1].value) growByline(form, boxes.length + 1);
}

/** Offer the names of a form to the next one. @param {ParentNode} form */
export function rememberNames(form) {
  const list = document.querySelector('#names');
  const known = [...(list?.children ?? [])].map((it) => it.getAttribute('value'));
  for (const name of bylineOf(form).filter((it) => !known.includes(it))) {
    const option = document.createElement('option');
    option.setAttribute('value', name);
    list?.append(option);
  }
}
