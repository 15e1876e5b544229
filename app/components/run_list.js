// The runs. `props.value` = {runs, at}, see app/views/training/runs.py. Asks for news while a run trains or a job is
// active, and it is visible. Event: clone_run {run}.
import { confirming } from "../scripts/confirm.js";
import { fill, rows, showLine } from "../scripts/dom.js";
import { follow, readNow } from "../scripts/job_news.js";
import { poll, reach } from "../scripts/server.js";
import { wantRun } from "../scripts/wanted_run.js";
import { checkTable } from "./train_settings.js";

export default function mount({ element, trigger, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 800,
    RETRY_MS = 2000;
  const doubt = confirming(element, words);
  let state = { runs: [] },
    active = "", // the jobs that are, when the queue was read last
    newest = 0,
    reading = null,
    away = false;

  // ---- Asking
  const busy = () => active !== "" || state.runs.some((run) => ["training", "stopping"].includes(run.state));
  const schedule = poll(element.parentElement, look, () => (away ? RETRY_MS : busy() ? ASK_MS : null));
  async function order(name, argument) {
    const news = await reach(server, name, argument);
    away = Boolean(news.away);
    take(news);
    if (name !== "news" && !away) readNow();
  }
  async function look() {
    await order("news");
    if (reading) await read();
  }
  const say = (sentence) => showLine($(".problem"), sentence);

  function take(news) {
    if (!element.isConnected || (news.at ?? newest) < newest) return;
    newest = news.at ?? newest;
    say(news.problem);
    if (news.runs) {
      state = news;
      paint();
    }
    schedule();
  }

  // Where jobs have changed, runs may have.
  function compare({ jobs }) {
    const now = jobs.map(({ id, status }) => `${id} ${status}`).join();
    if (now === active) return;
    active = now;
    schedule(0);
  }

  // ---- Painting
  const show = (row, name, shown) => {
    row.querySelector(`[data-do="${name}"]`).hidden = !shown;
  };

  function paint() {
    rows($(".list"), $("template.of-run"), state.runs, paintRun);
    $(".empty").hidden = state.runs.length > 0;
    doubt.check();
  }

  function paintRun(row, run) {
    row.dataset.state = run.state;
    row.dataset.job = run.job;
    show(row, "stop", run.job && run.state === "training");
    show(row, "kill", run.job && ["training", "stopping"].includes(run.state));
    show(row, "resume", run.can_resume);
    row.querySelector(".extending").hidden = !run.can_extend;
    row.querySelector("input").value ||= run.updates; // as long again; what was typed stays
    show(row, "clone", run.can_clone);
    show(row, "use", run.can_use);
    row.querySelector(".done").style.width = (run.fraction ?? 0) * 100 + "%";
  }

  // ---- The log
  async function read() {
    const id = reading;
    const found = await reach(server, "log", { id, word: $(".log input").value.trim() });
    if (id !== reading) return;
    if (found.problem) return say(found.problem);
    const box = $("pre"),
      follows = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    fill($(".log"), found);
    $(".log").hidden = false;
    box.textContent = found.lines || words.log_empty;
    $(".part").textContent = found.part
      ? words.log_part.replace("{shown}", found.part.shown).replace("{size}", found.part.size)
      : "";
    $(".verdicts").replaceChildren(...checkTable(found.verdicts, words));
    if (follows) box.scrollTop = box.scrollHeight;
  }

  // ---- Actions
  const actions = {
    keep: () => doubt.keep(),
    stop: (row) => order("cancel", row.dataset.job),
    kill: (row) => order("kill", row.dataset.job),
    resume: (row) => order("resume", row.dataset.id),
    extend: (row) => order("extend", { id: row.dataset.id, steps: Number(row.querySelector("input").value) }),
    use: (row) => trigger("use_adapter", { run: row.dataset.id }),
    watch(row) {
      wantRun(row.dataset.id);
      trigger("watch_run");
    },
    clone: (row) => trigger("clone_run", { run: row.dataset.id }),
    async log(row) {
      reading = row.dataset.id;
      await read();
      $(".log").scrollIntoView({ block: "nearest" });
    },
    close() {
      reading = null;
      $(".log").hidden = true;
    },
  };
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    const name = button.dataset.do;
    if (name === "kill" && !doubt.passes(event, button)) return;
    actions[name](button.closest("li"));
  });
  element.addEventListener("input", (event) => event.target.closest(".log") && read());
  watch("value", () => {
    take(props.value);
    readNow(); // a run was submitted, or the tab was opened
  });
  take(props.value ?? {});
  follow(element, compare);
}
