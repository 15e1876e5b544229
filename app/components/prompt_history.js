// Prompts that were used before, the newest first, then examples. `server.recent_prompts()` -> {prompts}. A press puts
// one into the field of the prompt; the arrow up key in the empty field puts in the newest.
import { listen, make, showLine } from "../scripts/dom.js";
import { reach } from "../scripts/server.js";

export default function mount({ element, props, server }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const field = () => document.querySelector("#prompt textarea");

  async function recent() {
    const found = await reach(server, "recent_prompts");
    showLine($(".problem"), found.problem);
    return found.prompts ?? [];
  }

  const part = (label, prompts) =>
    prompts.length
      ? [
          make("li", { className: "label", textContent: label }),
          ...prompts.map((prompt) => make("li", {}, make("button", { type: "button", textContent: prompt }))),
        ]
      : [];

  async function show() {
    const prompts = await recent(),
      others = words.example_prompts.filter((prompt) => !prompts.includes(prompt));
    $(".prompts").replaceChildren(...part(words.recent, prompts), ...part(words.examples, others));
  }

  function put(prompt) {
    const to = field();
    to.value = prompt;
    to.dispatchEvent(new Event("input", { bubbles: true }));
    to.focus();
  }

  $(".history").addEventListener("toggle", () => $(".history").open && show());
  element.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    put(button.textContent);
    $(".history").open = false;
  });
  listen(element, "keydown", async (event) => {
    if (event.key !== "ArrowUp" || event.target !== field() || event.target.value) return;
    event.preventDefault();
    const [newest] = await recent();
    if (newest && !field().value) put(newest);
  });
}
