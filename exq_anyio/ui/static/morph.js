// Makes one element look like another and leaves alone what the visitor did: what is chosen, typed, open or focused.

/** Makes the children of `from` those of `to`; a child with a data-key or an id is found again by it. */
export function morph(from, to) {
  const keyed = new Map();
  for (const child of from.children) {
    const key = keyOf(child);
    if (key !== null) keyed.set(key, child);
  }
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    // A text that is gone, if only a line's end, must not hide the element behind it.
    while (at?.nodeType === Node.TEXT_NODE && wanted.nodeType !== Node.TEXT_NODE) at = removed(at);
    const found = match(at, wanted, keyed);
    if (found === null) {
      from.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else from.insertBefore(found, at);
    change(found, wanted);
  }
  while (at !== null) at = removed(at);
}

/** Removes a node; the one behind it. */
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  return node.dataset?.key ?? (node.id || null);
}

function match(at, wanted, keyed) {
  const key = keyOf(wanted);
  if (key !== null) {
    const found = keyed.get(key) ?? null;
    keyed.delete(key);
    return found !== null && found.nodeName === wanted.nodeName ? found : null;
  }
  if (at === null || at.nodeName !== wanted.nodeName || keyOf(at) !== null) return null;
  return at;
}

function change(found, wanted) {
  if (found.nodeType !== Node.ELEMENT_NODE) {
    if (found.nodeValue !== wanted.nodeValue) found.nodeValue = wanted.nodeValue;
    return;
  }
  if (found.nodeName === "TIME" && found.getAttribute("datetime") === wanted.getAttribute("datetime")) return;
  attributes(found, wanted);
  if (found.dataset.chart === undefined) morph(found, wanted);
}

function attributes(found, wanted) {
  const kept = found.nodeName === "DETAILS" ? ["open"] : found.nodeName === "INPUT" ? ["hidden", "value"] : [];
  if (found.nodeName === "BUTTON" && "chosen" in found.dataset) kept.push("disabled");
  for (const { name, value } of wanted.attributes) {
    if (!kept.includes(name) && found.getAttribute(name) !== value) found.setAttribute(name, value);
  }
  for (const { name } of [...found.attributes]) {
    if (!wanted.hasAttribute(name) && !kept.includes(name)) found.removeAttribute(name);
  }
  if (found.nodeName === "INPUT" && found.type === "hidden") found.value = wanted.getAttribute("value");
}

/** The elements that some HTML of ours describes. */
export function parse(html, tag) {
  const holder = document.implementation.createHTMLDocument("").createElement(tag);
  holder.innerHTML = html;
  return holder;
}
