// What a run changed. `props.value` = {run, note, can_measure, columns, rows: [{cells, verdict}], lines: [[cell]]}.
// Also shows the jobs that evaluate the run. Event "measure" {run}.
import { csv, save } from "../scripts/files.js";
import { make } from "../scripts/dom.js";
import { follow, latestNews } from "../scripts/job_news.js";

export default function mount({ element, trigger, props, watch }) {
  const $ = (selector) => element.querySelector(selector);

  function show(value) {
    const { can_measure = false, columns = [], rows = [], compared } = value ?? {};
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
    showJob(latestNews());
  }

  // The run's evaluation that is under way, or the last one if it came to a bad end.
  function showJob(news) {
    const { run, note = "" } = props.value ?? {},
      { words } = props;
    const mine = (job) => job.kind_key === "evaluate" && job.run === run,
      under = news?.jobs.find(mine),
      last = news?.ended.find(mine),
      failed = last && !["done", "cancelled"].includes(last.status) ? last : null;
    const told = under ? words.measuring : words.not_measured,
      { state = "", line = "" } = under ?? failed ?? {};
    const text = under || failed ? told.replace("{line}", () => line || state) : note;
    if ($(".note").textContent !== text) $(".note").textContent = text;
    $(".findings").toggleAttribute("data-busy", !!under);
    $(".measure").disabled = !!under;
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
  follow(element, showJob);
}
