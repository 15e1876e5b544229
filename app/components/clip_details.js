// What is known of one clip, and what can be done with it. `props.value` = see `facts` in app/views/clips.py, or null.
// Each action is an event of its own name that carries {id, ids: [id], starred}, `starred` being what a click on the star wants.
import { setAddress, setShown } from "../scripts/address.js";
import { copy } from "../scripts/clipboard.js";
import { fill, listen, make, visible } from "../scripts/dom.js";
import { composes, pressed, typing } from "../scripts/keyboard.js";

export default function mount({ element, trigger, props, watch }) {
  const EVENTS = [
    "again",
    "new_seed",
    "use_settings",
    "compare_base",
    "star_clip",
    "show_in_library",
    "score_clip",
    "remove_clip",
    "close_clip",
  ];
  const $ = (selector) => element.querySelector(selector);
  $(".facts").dataset.part = props.part;
  $(".neighbours").hidden = !props.grid;
  const step = (by) =>
    document.dispatchEvent(new CustomEvent("dailies:neighbour", { detail: { grid: props.grid, by } }));
  let told = null; // the clip that the Library's address has

  function show(value) {
    if (props.part === "head" && (value?.id ?? null) !== told) {
      told = value?.id ?? null;
      setAddress({ tab: "library", clip: told }, true);
    }
    $(".facts").classList.toggle("is-empty", !value);
    if (!value) return;
    fill(element, value);
    $(".total").classList.toggle("is-none", !value.scored);
    const pressed = element.contains(document.activeElement) && document.activeElement.dataset.action;
    $(".actions").replaceChildren(...value.actions.map(button));
    if (pressed) element.querySelector(`[data-action="${pressed}"]`)?.focus({ preventScroll: true });
    $(".rows").replaceChildren(
      ...value.rows.flatMap(([name, text]) => [make("dt", { textContent: name }), make("dd", { textContent: text })]),
    );
    $(".remarks").replaceChildren(...value.remarks.map((remark) => make("li", { textContent: remark })));
    for (const link of element.querySelectorAll("[data-link]")) link.href = value.links[link.dataset.link];
    $(".request").hidden = !value.request;
    $(".request pre").textContent = JSON.stringify(value.request, null, 2);
  }

  function button([name, label, hint]) {
    const made = make("button", { type: "button", textContent: label, title: hint });
    made.dataset.action = name;
    return made;
  }

  element.addEventListener("click", (event) => {
    const by = event.target.closest("[data-step]")?.dataset.step;
    if (by) step(Number(by));
    const action = event.target.closest("[data-action]")?.dataset.action;
    if (action && EVENTS.includes(action))
      trigger(action, { id: props.value.id, ids: [props.value.id], starred: !props.value.starred });
    if (action === "close_clip" && props.part === "alone") setShown("score", null, true);
    const copies = event.target.closest('[data-do="copy"]');
    if (copies) copy(copies, $('[data-link="permalink"]').href);
  });
  listen(element, "keydown", (event) => {
    if (event.key !== "Escape" || composes(event) || event.defaultPrevented || !visible(element)) return;
    const ticks = event.target.matches("[type=checkbox]"); // no typing there
    if (ticks || !typing(event.target, element)) element.querySelector('[data-action="close_clip"]')?.click();
  });
  const STEPS = { j: 1, k: -1 };
  listen(element, "keydown", (event) => {
    const key = pressed(event).find((one) => one in STEPS);
    if (!key || !props.grid || !props.value || event.defaultPrevented || !visible(element)) return;
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target, element)) return;
    event.preventDefault();
    step(STEPS[key]);
  });
  // Back or Forward went to another clip, or to none.
  if (props.part === "head")
    listen(element, "dailies:clip", (event) => {
      event.preventDefault();
      const { detail: id } = event;
      if (id !== (props.value?.id ?? null)) trigger(id ? "visit_clip" : "close_clip", { id });
    });
  watch("value", () => show(props.value));
  show(props.value);
}
