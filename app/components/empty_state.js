// What the stage says when it has no takes. `props.value` = "" (there are takes), "empty", or "new" in a workspace that
// has nothing at all: then it greets with what can be done first, until work is under way. Events: the keys of
// `words.steps`.
const { words } = props;
const $ = (selector) => element.querySelector(selector);

function step([name, { title, hint, button }]) {
  const row = document.createElement("li"),
    make = (tag, textContent) => Object.assign(document.createElement(tag), { textContent });
  const hand = Object.assign(make("button", button), { type: "button" });
  hand.dataset.step = name;
  row.append(make("b", title), make("p", hint), hand);
  return row;
}

function show(value) {
  const busy = document.querySelector("#generate-jobs .strip")?.classList.contains("is-shown");
  const greets = value === "new" && !busy;
  $(".stage-empty").hidden = !value;
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
  attributeFilter: ["class"],
});
watch("value", () => show(props.value));
show(props.value);
