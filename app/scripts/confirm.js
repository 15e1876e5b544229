// What cannot be undone is asked for twice: after the first press the button says what it does, the second does it.
// `words` = {really, no}. A button with data-do="keep" takes the question back.
import { make } from "./dom.js";

export function confirming(element, words) {
  let asked = null; // the button that waits for its second press

  function settle() {
    if (!asked) return;
    asked.textContent = asked.dataset.label;
    asked.classList.remove("yes");
    for (const part of element.querySelectorAll(".doubt")) part.remove();
    asked = null;
  }

  function ask(button) {
    settle();
    asked = button;
    button.dataset.label = button.textContent;
    button.textContent = words.really;
    button.classList.add("yes");
    button.before(make("span", { className: "doubt", role: "status", textContent: button.title }));
    const keep = make("button", { type: "button", className: "doubt", textContent: words.no });
    keep.dataset.do = "keep";
    button.after(keep);
  }

  return {
    // Whether this press is the second one.
    passes(event, button) {
      if (button !== asked) {
        ask(button);
        return false;
      }
      if (event.detail > 1) return false; // the second half of a double click
      settle();
      return true;
    },
    keep() {
      const button = asked;
      settle();
      button?.focus();
    },
    // After the rows were painted: the question of a button that is gone goes with it.
    check() {
      if (asked && (asked.hidden || !asked.isConnected)) settle();
    },
  };
}
