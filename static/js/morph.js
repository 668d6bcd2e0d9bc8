// Parses markup without running its scripts, and makes one element equal to another in place.
// Rules: all markup comes from the server; no other module parses markup.

const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('liveblog', {
  createHTML: (/** @type {string} */ html) => html,
});

/** Parse markup; nothing in it runs or loads. @param {string} html */
export function parseHtml(html) {
  const template = document.createElement('template');
  template.innerHTML = policy?.createHTML(html) ?? html;
  return template.content;
}

/**
 * Return whether markup has a script, an event handler, a `javascript:` link, or an element that
 * entries never have, such as <style>. The server writes no such markup, so the view rejects it.
 *
 * @param {ParentNode} root @returns {boolean}
 */
export function isHostile(root) {
  return [...root.querySelectorAll('*')].some(
    (/** @type {any} */ node) =>
      node.matches('script, link, meta, base, style, object, embed, iframe, form') ||
      /^\s*javascript:/i.test(node.getAttribute('href') ?? '') ||
      node.getAttributeNames().some((/** @type {string} */ name) => name.startsWith('on')) ||
      (node.content && isHostile(node.content)), // querySelectorAll skips a <template>'s content
  );
}

/**
 * Make `old` equal to `fresh`. Do not use `fresh` afterwards: its nodes may have moved into `old`.
 * Equal nodes, and video and audio players with the same `src`, stay in place: they keep their
 * focus, selection and playback.
 *
 * @param {Node} old @param {Node} fresh
 */
export function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (!isSameNode(old, fresh)) return void old.parentNode?.replaceChild(fresh, old);
  if (!(old instanceof Element && fresh instanceof Element)) {
    return void (old.nodeValue = fresh.nodeValue);
  }
  for (const name of old.getAttributeNames()) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    // Do not set an equal value again: an equal `src` would reload a video or audio player.
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, [...old.childNodes], [...fresh.childNodes]);
}

/** @param {Element} parent @param {ChildNode[]} olds @param {ChildNode[]} fresh */
function morphChildren(parent, olds, fresh) {
  /** @type {Map<ChildNode, ChildNode>} */
  const kept = new Map();
  pair(olds, fresh, kept);
  const staying = new Set(kept.values());
  for (const node of olds) if (!staying.has(node)) node.remove();
  let next = parent.firstChild;
  for (const node of fresh) {
    const old = kept.get(node);
    if (!old) parent.insertBefore(node, next);
    else {
      next = old.nextSibling;
      morph(old, node);
    }
  }
}

/**
 * Match old nodes with fresh nodes, and write the pairs to `kept`. The pairs keep the order of both
 * lists, so that no old node must be moved: a moved player stops.
 *
 * @param {ChildNode[]} olds @param {ChildNode[]} fresh @param {Map<ChildNode, ChildNode>} kept
 */
function pair(olds, fresh, kept) {
  [olds, fresh] = [[...olds], [...fresh]];
  for (; fresh[0]?.isEqualNode(olds[0] ?? null); fresh.shift()) {
    kept.set(fresh[0], /** @type {ChildNode} */ (olds.shift()));
  }
  for (; fresh.at(-1)?.isEqualNode(olds.at(-1) ?? null); fresh.pop()) {
    kept.set(/** @type {any} */ (fresh.at(-1)), /** @type {any} */ (olds.pop()));
  }
  const keys = olds.map(identityOf);
  const at = fresh.findIndex((node) => identityOf(node) && keys.includes(identityOf(node)));
  if (at < 0) return pairEqual(olds, fresh, kept);
  const was = keys.indexOf(identityOf(fresh[at]));
  kept.set(fresh[at], olds[was]);
  pair(olds.slice(0, was), fresh.slice(0, at), kept);
  pair(olds.slice(was + 1), fresh.slice(at + 1), kept);
}

/**
 * Match the elements of equal HTML that come in the same order in both lists. Between two such
 * elements, match the first nodes, the second nodes, and so on.
 *
 * @param {ChildNode[]} olds @param {ChildNode[]} fresh @param {Map<ChildNode, ChildNode>} kept
 */
function pairEqual(olds, fresh, kept) {
  /** @type {Map<string, number>} the index in `olds` of the first element with this HTML */
  const places = new Map();
  olds.forEach((node, i) => places.has(htmlOf(node)) || places.set(htmlOf(node), i));
  let [from, next] = [0, 0];
  for (let i = 0; i <= fresh.length; i += 1) {
    const was = i < fresh.length ? (places.get(htmlOf(fresh[i])) ?? -1) : olds.length;
    if (was < from) continue;
    for (let j = next; j < i && from < was; j += 1, from += 1) {
      if (isSameNode(olds[from], fresh[j])) kept.set(fresh[j], olds[from]);
    }
    if (olds[was]) kept.set(fresh[i], olds[was]);
    [from, next] = [was + 1, i + 1];
  }
}

/**
 * Return an element's HTML; undefined for a text node, because equal HTML matches two nodes and
 * short texts are often equal by chance.
 *
 * @param {Node} node @returns {any}
 */
const htmlOf = (node) => /** @type {any} */ (node).outerHTML;

/** @param {Node} old @param {Node} fresh */
const isSameNode = (old, fresh) => old.nodeName === fresh.nodeName && identityOf(old) === identityOf(fresh);

/** Return an element's identity: an entry's id, or the `src` of a player. @param {Node} node */
function identityOf(node) {
  if (!(node instanceof Element)) return null;
  const player = node.hasAttribute('src') ? node : node.querySelector('[src]');
  return idOf(node) || (player?.getAttribute('src') ?? null);
}

/** @param {Element} node */
export const idOf = (node) => node.id || node.getAttribute('data-entry');
