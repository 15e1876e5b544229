// A sentence of help behind an icon: it is shown next to the icon when that is pressed, and it is the icon's tooltip.
import { make } from "./dom.js";

const GAP = 6; // px

let count = 0;

export function hintIcon(about, sentence) {
  const icon = make("button", { type: "button", className: "help-icon", title: sentence });
  icon.ariaLabel = about;
  icon.dataset.hint = sentence;
  return icon;
}

// An icon in the label of `field`. The label names its field: a press on its text would otherwise go to the icon, the
// first button in it.
export function labelIcon(title, field, about, sentence) {
  const label = title.closest("label");
  title.append(hintIcon(about.replace("{term}", title.textContent), sentence));
  if (label) label.htmlFor = field.id ||= `field-${++count}`;
}

// Icons in the labels of the fields named in `words.fields`, which has their sentences; the fields keep their names.
export function fieldIcons(element, { fields, about }) {
  for (const [name, sentence] of Object.entries(fields)) {
    const field = element.querySelector(`[name="${name}"]`),
      title = field.closest("label")?.firstElementChild ?? field.closest("dd").previousElementSibling;
    field.ariaLabel = title.textContent;
    labelIcon(title, field, about, sentence);
  }
}

const bubble = make("div", { className: "hint-bubble", popover: "manual" });
bubble.setAttribute("role", "status");

let shown = null; // the icon of the sentence that is shown

function show(icon) {
  (icon.closest("dialog") ?? document.body).append(bubble);
  bubble.textContent = icon.dataset.hint;
  bubble.showPopover();
  shown = icon;
  const at = icon.getBoundingClientRect(),
    { offsetWidth: width, offsetHeight: height } = bubble,
    isBelow = at.bottom + GAP + height < innerHeight;
  bubble.style.left = `${Math.max(GAP, Math.min(at.left - GAP, innerWidth - width - GAP))}px`;
  bubble.style.top = `${isBelow ? at.bottom + GAP : at.top - GAP - height}px`;
}

function hide() {
  if (shown) bubble.hidePopover();
  shown = null;
}

document.addEventListener("click", (event) => {
  const icon = event.target.closest?.("[data-hint]"),
    before = shown;
  hide();
  if (!icon) return;
  event.preventDefault(); // an icon in a label does not press its field
  if (icon !== before) show(icon);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !shown) return;
  event.preventDefault();
  hide();
});
document.addEventListener("scroll", hide, true);
