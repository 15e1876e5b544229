// Asking the server: one function of a component, or news again and again.
import { listen, visible } from "./dom.js";
import { unreachable } from "./words.js";

// The answer of a component's server function, {problem} where it was refused, or {problem, away: true} where none came:
// Gradio's functions never reject, and resolve to nothing then.
export const reach = async (server, name, argument = "") =>
  (await server[name](argument)) ?? { problem: unreachable, away: true };

// Call `look` when the element is shown, and while it is visible `wait()` milliseconds after the last call, unless that is
// null. Returns a function that plans the next call again, after a time if one is given.
export function poll(element, look, wait) {
  let timer = null,
    looking = false,
    due = false; // a call was wanted at once while one was under way
  function plan(after = wait()) {
    if (looking) {
      due ||= after === 0;
      return;
    }
    clearTimeout(timer);
    timer = after !== null && visible(element) && !document.hidden ? setTimeout(run, after) : null;
  }
  async function run() {
    looking = true;
    due = false;
    try {
      await look();
    } finally {
      looking = false;
      plan(due ? 0 : undefined);
    }
  }
  const shown = () => plan(wait() === null ? null : 0);
  listen(element, "visibilitychange", shown);
  new IntersectionObserver(shown).observe(element);
  return plan;
}
