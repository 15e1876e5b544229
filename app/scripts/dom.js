// Elements: making, filling and following them.
export const visible = (element) => element.isConnected && element.offsetParent !== null;

// Listen to the document for as long as an element lives.
export function listen(element, type, handle) {
  const listener = (event) => (element.isConnected ? handle(event) : document.removeEventListener(type, listener));
  document.addEventListener(type, listener);
}

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// Fill `[data-text=key]` within an element from an object, as text: what a person typed is never read as HTML.
export function fill(element, values) {
  for (const slot of element.querySelectorAll("[data-text]")) slot.textContent = values[slot.dataset.text] ?? "";
}

// Show a line with a sentence, or hide it where there is none.
export function showLine(line, sentence = "") {
  line.hidden = !sentence;
  line.textContent = sentence;
}

// A node from a <template>, e.g. one card of a grid.
export const stamp = (template) => template.content.firstElementChild.cloneNode(true);

// The rows of a list, one for each item, each found again by its item's id: the state of a row (the focus, a
// press that is half done, a number they typed) stays with its item. A row that is in its place is not moved, and one
// that is moved gets its focus back.
export function rows(list, template, items, paint) {
  const before = new Map([...list.children].map((row) => [row.dataset.id, row]));
  const held = document.activeElement;
  const wanted = new Set(items.map(({ id }) => id));
  for (const [id, row] of before) if (!wanted.has(id)) row.remove();
  let place = list.firstElementChild;
  for (const item of items) {
    const row = before.get(item.id) ?? stamp(template);
    row.dataset.id = item.id;
    if (row === place) place = row.nextElementSibling;
    else list.insertBefore(row, place);
    fill(row, item);
    paint(row, item);
  }
  if (held !== document.activeElement && list.contains(held)) held.focus({ preventScroll: true });
}
