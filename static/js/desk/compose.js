// The form for an entry, where it helps to write: marks, pastes, preview, names, counts, and words
// that say what a button will do.
// Rules: no text is kept or sent here. A script that fills boxes sends the form a `filled` event; a
// script that types for the editor sends an `input` event.

import { bylineOf, rememberNames, roomForNames } from './bylines.js';
import { showCount, showCounts } from './counts.js';
import { atTime } from './dates.js';
import { startKeys } from './keys.js';
import { acceptPastes } from './pasting.js';
import { Preview } from './preview.js';
import { equip } from './toolbar.js';
import { remark } from './typing.js';

startKeys();
document.addEventListener('input', ({ target }) => showCount(target));
for (const box of document.querySelectorAll('[name=summary]'))
  acceptPastes(/** @type {any} */ (box));

/** @param {HTMLFormElement} form the form of a new entry or of an edit, in the document */
export function dress(form) {
  const box = /** @type {HTMLTextAreaElement} */ (form.elements.namedItem('body'));
  equip(form, box);
  acceptPastes(box);
  openOnDemand(form);
  const preview = new Preview(form);
  switchPreview(form, preview);
  const renew = () => {
    sayWhat(form);
    preview.refresh();
  };
  form.addEventListener('input', () => {
    remark(form, '');
    roomForNames(form);
    renew();
  });
  form.addEventListener('filled', () => {
    sayZone(form);
    showCounts(form);
    roomForNames(form);
    renew();
  });
  form.addEventListener('submit', () => rememberNames(form));
  box.setSelectionRange(box.value.length, box.value.length);
  form.dispatchEvent(new Event('filled'));
}

/**
 * Open a folded box when its content was rejected, or is compared with a colleague's.
 *
 * @param {HTMLFormElement} form
 */
function openOnDemand(form) {
  const open = (/** @type {any} */ it) => it.closest('details')?.setAttribute('open', '');
  const look = () =>
    form.querySelectorAll('.chip:not([open]) :is([aria-invalid], .theirs)').forEach(open);
  const options = { subtree: true, childList: true, attributeFilter: ['aria-invalid'] };
  new MutationObserver(look).observe(form, options);
  // The browser names no fault of a folded box.
  form.addEventListener('invalid', ({ target }) => open(target), true);
}

/** @param {HTMLFormElement} form @param {Preview} preview */
function switchPreview(form, preview) {
  const button = form.querySelector('[data-preview]');
  const width = form.querySelector('[data-width]');
  let wasOpen = false;
  const look = () => {
    if (preview.isOpen !== wasOpen) preview.refresh();
    wasOpen = preview.isOpen;
    button?.setAttribute('aria-pressed', String(wasOpen));
  };
  button?.addEventListener('click', () => {
    form.dataset.preview = preview.isOpen ? 'off' : 'on';
    preview.panel.scrollIntoView({ block: 'nearest' }); // on a phone it is below the screen
  });
  new ResizeObserver(look).observe(preview.panel); // also when a dialog or a wider window shows it
  width?.addEventListener('click', () => {
    const isFull = form.dataset.width !== 'full';
    form.dataset.width = isFull ? 'full' : 'phone';
    width.setAttribute('aria-pressed', String(isFull));
  });
}

// -- words

/** Let folded boxes and buttons say what the form has now. @param {HTMLFormElement} form */
function sayWhat(form) {
  for (const chip of form.querySelectorAll('[data-chip]')) {
    const summary = /** @type {HTMLElement} */ (chip.querySelector('summary'));
    const text = contentOf(form, chip.getAttribute('data-chip') ?? '');
    summary.textContent = text || (summary.dataset.label ?? '');
  }
  const at = contentOf(form, 'publish_at');
  for (const it of form.querySelectorAll('[data-timed]')) {
    const { dataset } = /** @type {HTMLElement} */ (it);
    dataset.label ??= it.textContent ?? '';
    it.textContent = at ? `${dataset.timed} ${at}` : dataset.label;
  }
}

/** Name the zone in which the form's time is read: a restored text has its own. @param {any} form */
function sayZone({ elements: { zone }, dataset }) {
  const hint = zone?.parentNode.querySelector('.hint');
  if (!hint || !zone.value) return;
  hint.textContent = hint.textContent.replace(dataset.zone, zone.value);
  dataset.zone = zone.value;
}

/** @param {HTMLFormElement} form @param {string} name of a folded box */
function contentOf(form, name) {
  if (name === 'byline') return bylineOf(form).length ? `By ${bylineOf(form).join(', ')}` : '';
  const box = form.querySelector(`[name="${name}"]:not([type=hidden])`);
  const text = /** @type {HTMLInputElement | null} */ (box)?.value.trim() ?? '';
  return name === 'publish_at' && text ? atTime(text, form.dataset.zone) : text;
}
