// The Monitor's table of runs: search, order, groups, name, tags and notes, deletion with undo, and the settings in which the ticked runs differ. Used by
// metric_charts.js. `state` has {runs, facts, chosen, looked, order, search}; `keep` stores what the user chose.
import { make, rows } from "../scripts/dom.js";
import { reach } from "../scripts/server.js";

const NUMBERS = {
  reward: (fact) => fact.reward ?? -Infinity,
  duration: (fact) => fact.seconds ?? -1,
  where: (fact, run) => parseInt(run.where) || 0,
};

export function runTable({ element, words, state, server, keep, colourOf, say, again }) {
  const $ = (selector) => element.querySelector(selector);
  const columns = Object.keys(words.columns);
  let editing = null; // the run whose name and tags are changed

  const factOf = (run) => state.facts[run.id] ?? { name: "", tags: [], changed: [] };
  const textOf = (run, column) => {
    const fact = factOf(run);
    if (column === "name") return fact.name || run.id;
    if (column === "state") return run.state_text;
    if (column === "where") return run.where;
    if (column === "reward") return typeof fact.reward !== "number" ? "" : fact.reward.toPrecision(3);
    return [fact[column] ?? ""].flat().join(", ");
  };

  // ---- Which, and in which order: without one, as the server has them, the newest first
  function listed() {
    const words_ = (state.search ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (run) => {
      const text = [run.id, ...columns.map((column) => textOf(run, column))].join(" ").toLowerCase();
      return words_.every((word) => text.includes(word));
    };
    const found = state.runs.filter(matches);
    const [column, sign] = state.order ?? [];
    if (!column) return found;
    const value = (run) => (NUMBERS[column] ? NUMBERS[column](factOf(run), run) : textOf(run, column).toLowerCase());
    const compare = (a, b) => (a < b ? -sign : a > b ? sign : 0);
    return found.sort((one, other) => compare(value(one), value(other)));
  }

  // The runs with a row before those of each group that says what they have in common.
  function grouped(runs) {
    if (!state.grouping) return runs;
    const groups = Map.groupBy(runs, (run) => textOf(run, state.grouping) || words.without);
    return [...groups].flatMap(([title, members]) => [
      { id: `group ${title}`, title: `${title} (${members.length})` },
      ...members,
    ]);
  }

  // ---- Painting
  function paint() {
    const shown = listed();
    rows($(".runs"), $("template"), grouped(shown), (row, run) => {
      const head = row.querySelector(".group-title");
      head.hidden = !run.title;
      head.textContent = run.title ?? "";
      for (const cell of row.querySelectorAll("td")) cell.hidden = !!run.title;
      if (run.title) return;
      const drawn = (state.chosen ?? []).includes(run.id),
        fact = factOf(run);
      row.classList.toggle("is-looked", run.id === state.looked);
      row.dataset.state = run.state;
      const tick = row.querySelector("input");
      tick.checked = drawn;
      tick.setAttribute("aria-label", words.draw.replace("{run}", run.id));
      row.querySelector(".swatch").style.background = drawn ? colourOf(run.id) : "";
      row.querySelector(".name").textContent = fact.name || run.id;
      row.querySelector(".id").textContent = fact.name ? run.id : "";
      row.querySelector(".pick").setAttribute("aria-pressed", run.id === state.looked);
      const edit = row.querySelector(".edit");
      edit.title = edit.ariaLabel = words.edit.replace("{run}", run.id);
      for (const column of columns.slice(2)) {
        const cell = row.querySelector(`.${column}`);
        const text = textOf(run, column);
        if (cell.textContent !== text) cell.textContent = text;
        if (column === "changed") cell.title = fact.changed.join("\n");
      }
      const tags = row.querySelector(".tags"),
        told = [...fact.tags, fact.text ?? ""].join("\n");
      if (tags.dataset.told !== told) {
        tags.dataset.told = told;
        const note = make("span", { className: "note", title: fact.text ?? "" }, fact.text ?? "");
        tags.replaceChildren(...fact.tags.map((tag) => make("span", { className: "tag" }, tag)), note);
      }
    });
    $(".no-match").hidden = shown.length > 0 || state.runs.length === 0;
    for (const head of element.querySelectorAll("th[data-column]")) {
      const [column, sign] = state.order ?? [];
      const way = head.dataset.column === column ? (sign > 0 ? "ascending" : "descending") : "none";
      head.setAttribute("aria-sort", way);
    }
    $('[data-table="compare"]').disabled = (state.chosen ?? []).length < 2;
    $('[data-table="delete"]').disabled = (state.chosen ?? []).length === 0;
    const gone = state.deleted ?? [];
    $(".deleted").hidden = gone.length === 0;
    $(".deleted span").textContent = words.deleted.replace("{runs}", gone.join(", "));
  }

  // A first press on numbers puts the largest first; a third one takes the order away.
  function sort(column) {
    const first = NUMBERS[column] ? -1 : 1,
      [now, sign] = state.order ?? [];
    state.order = now !== column ? [column, first] : sign === first ? [column, -first] : null;
    keep();
    paint();
  }

  // ---- Deletion: the runs go to the workspace's trash
  async function remove(name, argument) {
    const said = await reach(server, name, argument);
    if (said.problem) return say(said.problem);
    state.deleted = said.deleted;
    if (said.restored) state.chosen = said.restored;
    else state.chosen = (state.chosen ?? []).filter((run) => !said.deleted.includes(run));
    again();
  }

  // ---- Name, tags and notes
  function edit(run) {
    editing = run;
    const form = $(".describing"),
      fact = state.facts[run] ?? { name: "", tags: [], text: "" };
    form.hidden = false;
    form.querySelector(".of").textContent = run;
    form.elements.name.value = fact.name;
    form.elements.tags.value = fact.tags.join(", ");
    form.elements.text.value = fact.text ?? "";
    form.elements.name.focus();
  }

  function stop() {
    const run = editing;
    editing = null;
    $(".describing").hidden = true;
    element.querySelector(`.run[data-id="${run}"] .edit`)?.focus({ preventScroll: true });
  }

  async function save() {
    const { name, tags, text } = $(".describing").elements,
      id = editing;
    const told = { id, name: name.value, tags: tags.value.split(","), text: text.value };
    const said = await reach(server, "describe", told);
    if (said.problem) return say(said.problem);
    state.facts[id] = {
      ...state.facts[id],
      name: told.name.trim(),
      text: told.text.trim(),
      tags: [...new Set(told.tags.map((tag) => tag.trim()))].filter(Boolean),
    };
    say("");
    paint();
    if (editing === id) stop();
  }

  // ---- Settings, the different ones only
  async function compare() {
    const chosen = [...state.chosen],
      found = await reach(server, "compare_settings", chosen);
    if (found.problem) return say(found.problem);
    const box = $(".differences");
    box.hidden = false;
    const names = chosen.map((run) => state.facts[run]?.name || run);
    const head = make("tr", {}, make("th", { scope: "col" }, words.setting));
    head.append(...names.map((name) => make("th", { scope: "col" }, name)));
    const lines = found.rows.map(({ name, values }) =>
      make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value) => make("td", {}, value))),
    );
    box.querySelector("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
    box.querySelector("table").hidden = lines.length === 0;
    box.querySelector(".same").hidden = lines.length > 0;
    box.scrollIntoView({ block: "nearest" });
  }

  // ---- Actions
  $(".search").value = state.search ?? "";
  $(".search").addEventListener("input", ({ target }) => {
    state.search = target.value;
    keep();
    paint();
  });
  $(".grouping").value = state.grouping ?? "";
  $(".grouping").addEventListener("change", ({ target }) => {
    state.grouping = target.value;
    keep();
    paint();
  });
  $(".describing").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  $(".describing").addEventListener("keydown", (event) => event.key === "Escape" && stop());
  element.addEventListener("click", ({ target }) => {
    const head = target.closest("th[data-column] button"),
      does = target.closest("[data-table]")?.dataset.table;
    if (head) sort(head.closest("th").dataset.column);
    if (does === "compare") compare();
    if (does === "delete") remove("delete_runs", [...state.chosen]);
    if (does === "restore") remove("restore_deleted", [...(state.deleted ?? [])]);
    if (does === "close") $(".differences").hidden = true;
    if (does === "stop") stop();
    if (target.closest(".edit")) edit(target.closest(".run").dataset.id);
  });

  return { paint, listed };
}
