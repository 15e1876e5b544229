// The campaigns. `server.news()` = {rows: [{id, title, open, votes, of, line, instructions, keys, target}], deleted:
// {id, title} | null}. Asks when it is shown. Event: changed {id}.
import { copy } from "../scripts/clipboard.js";
import { rows, visible } from "../scripts/dom.js";
import { reach } from "../scripts/server.js";

export default function mount({ element, trigger, props, server }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  let state = { rows: [], deleted: null },
    editing = null; // the id of the campaign whose form is open

  async function call(name, argument) {
    const answer = await reach(server, name, argument);
    $(".said").textContent = answer.problem ?? "";
    if (answer.problem) return false;
    state = answer;
    paint();
    return true;
  }

  async function change(name, argument, id) {
    const done = await call(name, argument);
    if (done) trigger("changed", { id });
    return done;
  }

  function paint() {
    rows($(".list"), $("template"), state.rows, (row, campaign) => {
      const meter = row.querySelector("meter");
      Object.assign(meter, { max: Math.max(1, campaign.of), value: campaign.votes, ariaLabel: campaign.title });
      row.querySelector(".state").textContent = campaign.open ? words.open : words.closed;
      row.querySelector('[data-do="close"]').hidden = !campaign.open;
      row.querySelector('[data-do="reopen"]').hidden = campaign.open;
    });
    $(".none").hidden = state.rows.length > 0;
    $(".deleted").hidden = !state.deleted;
    $(".deleted span").textContent = words.deleted.replace("{title}", state.deleted?.title ?? "");
    if (!state.rows.some(({ id }) => id === editing)) stop();
  }

  function stop() {
    editing = null;
    $(".editing").hidden = true;
  }

  function edit(campaign) {
    editing = campaign.id;
    const form = $(".editing");
    form.hidden = false;
    for (const name of ["title", "target", "keys", "instructions"]) form.elements[name].value = campaign[name];
    form.elements.title.focus();
  }

  $(".editing").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { title, target, keys, instructions } = event.target.elements,
      id = editing;
    const texts = { title: title.value, keys: keys.value, instructions: instructions.value };
    const order = { id, ...texts, target: Number(target.value) };
    if (await change("edit", order, id)) stop();
  });

  element.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-do]"),
      id = button?.closest("tr")?.dataset.id,
      campaign = state.rows.find((row) => row.id === id);
    if (!button) return;
    const does = button.dataset.do;
    if (does === "edit") edit(campaign);
    else if (does === "invite") copy(button, new URL(`label/?campaign=${id}`, document.baseURI).href);
    else if (does === "stop") stop();
    else if (does === "restore") change("restore", state.deleted.id, state.deleted.id);
    else change(does, id, id);
  });

  new IntersectionObserver(() => visible(element) && call("news")).observe(element);
}
