// The mistake in the form around this component: its sentence, and its field marked and focused until it is changed.
// `props.value` = {field: an element's id or "", sentence, at} | null.
import { visible } from "../scripts/dom.js";

const TRIES = 40,
  WAIT_MS = 50;

export default function mount({ element, props, watch }) {
  const line = element.querySelector(".problem-line"),
    form = element.closest(".request-form, .campaign-form");
  line.id = `${element.id || "form"}-problem`;
  let marked = null;

  function clear() {
    line.hidden = true;
    line.textContent = "";
    marked?.removeAttribute("aria-invalid");
    marked?.removeAttribute("aria-describedby");
    marked = null;
  }

  // A field of a closed section is there once the section is open.
  function mark(value, left = TRIES) {
    if (value !== props.value) return;
    const input = document.querySelector(`#${value.field} :is(textarea, input:not([type="range"]), select)`);
    if (!input || !visible(input)) {
      if (left === TRIES) form.querySelector(".more > .label-wrap:not(.open)")?.click();
      if (left) setTimeout(() => mark(value, left - 1), WAIT_MS);
      return;
    }
    marked = input;
    marked.setAttribute("aria-invalid", "true");
    marked.setAttribute("aria-describedby", line.id);
    marked.focus();
  }

  function show(value) {
    clear();
    if (!value) return;
    line.textContent = value.sentence;
    line.hidden = false;
    if (value.field) mark(value);
  }

  form.addEventListener("input", ({ target }) => {
    if (!marked || target === marked || target.closest(".block") === marked.closest(".block")) clear();
  });
  watch("value", () => show(props.value));
  show(props.value);
}
