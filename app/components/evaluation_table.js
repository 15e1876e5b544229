// What a run changed. `props.value` = {run, note, can_measure, columns, rows: [{cells, verdict}], lines: [[cell]]}.
// Event "measure" {run}.
const { save, csv } = window.dailies;
const $ = (selector) => element.querySelector(selector);
const make = (tag, textContent, className = "") =>
  Object.assign(document.createElement(tag), { textContent, className });

function show(value) {
  const { note = "", can_measure = false, columns = [], rows = [] } = value ?? {};
  $(".note").textContent = note;
  $(".measure").hidden = !can_measure;
  $(".save").hidden = !rows.length;
  $("thead tr").replaceChildren(...columns.map((column) => Object.assign(make("th", column), { scope: "col" })));
  $("tbody").replaceChildren(
    ...rows.map((row) => {
      const line = make("tr", "");
      line.dataset.verdict = row.verdict;
      line.append(...row.cells.map((cell, at) => make("td", cell, at === row.cells.length - 1 ? "verdict" : "")));
      return line;
    }),
  );
}

$(".measure").addEventListener("click", () => trigger("measure", { run: props.value.run }));
$(".save").addEventListener("click", () => save(props.value.run + "-evaluation.csv", csv(props.value.lines)));
watch("value", () => show(props.value));
show(props.value);
