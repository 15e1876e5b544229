// Settings of the Generate form that were saved under a name. `server.saved_settings()` = {rows: [{id, title, line}],
// deleted: {id, title} | null}; it is asked when the list is opened. Events: save_settings {title}, whose answer is the
// new value; apply_settings {id}.
import { rows } from "../scripts/dom.js";
import { reach } from "../scripts/server.js";

export default function mount({ element, trigger, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  let state = { rows: [], deleted: null };

  function show(found) {
    $(".said").textContent = found.problem ?? found.said ?? "";
    if (found.problem) return;
    state = found;
    rows($(".list"), $("template"), state.rows, () => {});
    $(".none").hidden = state.rows.length > 0;
    $(".deleted").hidden = !state.deleted;
    $(".deleted span").textContent = words.deleted.replace("{title}", state.deleted?.title ?? "");
  }

  const call = async (name, argument) => show(await reach(server, name, argument));

  $(".saved").addEventListener("toggle", () => $(".saved").open && call("saved_settings"));
  $(".save").addEventListener("submit", (event) => {
    event.preventDefault();
    trigger("save_settings", { title: $(".save input").value });
  });
  element.addEventListener("click", ({ target }) => {
    const does = target.closest("[data-do]")?.dataset.do,
      id = target.closest("li")?.dataset.id;
    if (does === "apply") trigger("apply_settings", { id });
    if (does === "delete") call("delete_settings", id);
    if (does === "restore") call("restore_settings", state.deleted.id);
  });
  watch("value", () => {
    if (!props.value?.rows) return;
    $(".save input").value = "";
    show(props.value);
  });
}
