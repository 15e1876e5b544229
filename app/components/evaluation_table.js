// What a run changed. `props.value` = {run, note, can_measure, columns, rows: [{cells, verdict}], lines: [[cell]]}.
// Event "measure" {run}.
import { csv, save } from "../scripts/files.js";
import { make } from "../scripts/dom.js";

export default function mount({ element, trigger, props, watch }) {
  const $ = (selector) => element.querySelector(selector);

  function show(value) {
    const { note = "", can_measure = false, columns = [], rows = [], compared } = value ?? {};
    $(".note").textContent = note;
    $(".measure").hidden = !can_measure;
    $(".save").hidden = !rows.length;
    $("thead tr").replaceChildren(...columns.map((column) => make("th", { scope: "col" }, column)));
    $("tbody").replaceChildren(
      ...rows.map((row) => {
        const line = make("tr");
        line.dataset.verdict = row.verdict;
        line.append(
          ...row.cells.map((cell, at) => make("td", { className: at === row.cells.length - 1 ? "verdict" : "" }, cell)),
        );
        return line;
      }),
    );
    showCompared(compared);
  }

  function showCompared({ columns = [], rows = [] } = {}) {
    $(".compared").hidden = !rows.length;
    const head = make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column)));
    const lines = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
    $(".compared table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
  }

  $(".measure").addEventListener("click", () => trigger("measure", { run: props.value.run }));
  $(".save").addEventListener("click", () => save(props.value.run + "-evaluation.csv", csv(props.value.lines)));
  watch("value", () => show(props.value));
  show(props.value);
}
