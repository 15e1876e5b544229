// What the stage says when it has no takes. `props.value` = "" (there are takes), "empty", or "new" in a workspace that
// has nothing at all: then it greets with what can be done first, until work is under way. Events: the keys of
// `words.steps`.
import { make } from "../scripts/dom.js";

export default function mount({ element, trigger, props, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);

  function step([name, { title, hint, button: label }]) {
    const button = make("button", { type: "button" }, label);
    button.dataset.step = name;
    return make("li", {}, make("b", {}, title), make("p", {}, hint), button);
  }

  function show(value) {
    const busy = document.querySelector("#generate-jobs .job:not([hidden], .is-bad)") !== null;
    const greets = value === "new" && !busy;
    $(".stage-empty").hidden = !value || (busy && !greets);
    $(".plain").hidden = greets;
    $(".greeting").hidden = !greets;
  }

  const events = {
    first_clip: () => trigger("first_clip"),
    import_clips: () => trigger("import_clips"),
    new_campaign: () => trigger("new_campaign"),
  };
  $("ol").replaceChildren(...Object.entries(words.steps).map(step));
  element.addEventListener("click", (event) => events[event.target.closest("[data-step]")?.dataset.step]?.());
  new MutationObserver(() => show(props.value)).observe(document.querySelector("#generate-jobs") ?? element, {
    attributes: true,
    subtree: true,
    attributeFilter: ["hidden"],
  });
  watch("value", () => show(props.value));
  show(props.value);
}
