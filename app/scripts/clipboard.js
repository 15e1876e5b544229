// Copying. Over plain HTTP from another host there is no `navigator.clipboard`: there the old way does it.
import { announce } from "./announce.js";
import { make } from "./dom.js";
import { copyWords as words } from "./words.js";

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedSelected(text);
  }
}

function copiedSelected(text) {
  const before = document.activeElement;
  const field = make("textarea", { value: text, readOnly: true });
  field.style.cssText = "position:fixed;top:0;opacity:0";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus({ preventScroll: true });
  return done;
}

// The copy button shows the result for a moment.
export async function copy(button, text) {
  const label = (button.dataset.label ??= button.textContent);
  const said = (await copied(text)) ? words.done : words.failed;
  button.textContent = said;
  announce(said);
  clearTimeout(button.saying);
  button.saying = setTimeout(() => {
    button.textContent = label;
  }, 2000);
}
