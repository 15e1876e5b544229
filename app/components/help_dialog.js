// Help: the first steps, which tick themselves, the shortcuts, and the glossary. `?` opens the shortcuts; a button with
// data-help="Term", anywhere on the page, opens the glossary at the term. `server.steps()` = {steps: [{id, title, hint, tab,
// done, note}]}; `go(tab)` opens a tab.
import { listen, make, rows, visible } from "../scripts/dom.js";
import { everyKey, keyRow } from "../scripts/key_map.js";
import { typing } from "../scripts/keyboard.js";
import { reach } from "../scripts/server.js";
import { storage } from "../scripts/storage.js";

export default function mountHelp({ element, words, server, go }) {
  const HIDDEN = "dailies.start",
    ASK_MS = 15_000;
  const $ = (selector) => element.querySelector(selector);
  const dialog = $(".help-dialog"),
    pill = $(".start-pill");
  let opener = null;

  // ---- First steps
  async function ask() {
    const found = await reach(server, "steps");
    if (!found.steps) return;
    rows($(".steps"), $("template.of-step"), found.steps, (row, step) => {
      row.classList.toggle("is-done", step.done);
      row.querySelector(".tick").ariaLabel = step.done ? words.done : words.todo;
      row.querySelector("button").dataset.tab = step.tab;
    });
    const done = found.steps.filter((step) => step.done).length;
    pill.textContent = words.progress.replace("{done}", done).replace("{of}", found.steps.length);
    pill.hidden = storage.get(HIDDEN) === "off" || done === found.steps.length;
  }
  setInterval(() => (dialog.open || (!pill.hidden && visible(pill) && !document.hidden)) && ask(), ASK_MS);
  ask();

  // ---- Shortcuts and glossary
  function showKeys() {
    const { actions, keys } = everyKey();
    const fixed = words.fixed.map(([label, key]) =>
      make("div", { className: "keyrow" }, make("span", {}, label), make("kbd", {}, key)),
    );
    const own = Object.keys(actions).map((name) =>
      keyRow(actions[name].label ?? words.actions[name] ?? name, keys, name, showKeys),
    );
    $(".keyrows").replaceChildren(...fixed, ...own);
  }

  function find(word) {
    for (const term of element.querySelectorAll(".terms dt")) {
      const says = term.nextElementSibling,
        fits = (term.textContent + says.textContent).toLowerCase().includes(word.trim().toLowerCase());
      term.hidden = says.hidden = !fits;
    }
  }

  function open(section = "start", term = "") {
    opener = dialog.open ? opener : document.activeElement;
    showKeys();
    ask();
    $(".find").value = term;
    find(term);
    if (!dialog.open) dialog.showModal();
    $(`[data-section="${section}"]`).scrollIntoView({ block: "start" });
    ($(`[data-section="${section}"] :is(h3, .find)`) ?? dialog).focus({ preventScroll: true });
  }

  $(".terms").append(
    ...Object.entries(words.terms).flatMap(([term, says]) => [make("dt", {}, term), make("dd", {}, says)]),
  );
  $(".find").addEventListener("input", () => find($(".find").value));
  $(".help-open").addEventListener("click", () => open());
  pill.addEventListener("click", () => open("start"));
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // keys are not the players' meanwhile
  dialog.addEventListener("close", () => opener?.isConnected && opener.focus());
  dialog.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-do], [data-tab], [data-to-section]");
    if (target === dialog || button?.dataset.do === "close") dialog.close();
    if (button?.dataset.toSection) open(button.dataset.toSection);
    if (button?.dataset.do === "hide") {
      storage.set(HIDDEN, "off");
      pill.hidden = true;
    }
    if (button?.dataset.tab) {
      opener = null;
      dialog.close();
      go(button.dataset.tab);
    }
  });
  listen(element, "click", ({ target }) => {
    const icon = target.closest?.("[data-help]");
    if (!icon) return;
    open("glossary", icon.dataset.help);
    opener = icon;
  });
  listen(element, "keydown", (event) => {
    if (event.key !== "?" || event.defaultPrevented || dialog.open || typing(event.target, element)) return;
    event.preventDefault();
    open("shortcuts");
  });
  listen(element, "dailies:keys", () => dialog.open && showKeys());
}
