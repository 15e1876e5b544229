// What waits and runs, and the runs. `props.value` = {jobs, paused, runs, at}, see app/views/training/runs.py. Asks for
// news while something is active and visible. Event: clone_run {run}.
import { fill, listen, rows, visible } from "../scripts/dom.js";
import { wantRun } from "../scripts/wanted_run.js";

export default function mount({ element, trigger, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 800,
    RETRY_MS = 2000;
  let state = { jobs: [], runs: [], paused: false },
    newest = 0,
    timer = null,
    reading = null,
    away = false;

  // ---- Asking
  const busy = () => state.jobs.length > 0 || state.runs.some((run) => run.state === "training");
  const watched = () => visible(element.parentElement) && !document.hidden;
  function schedule(after = ASK_MS) {
    clearTimeout(timer);
    timer = (busy() || away) && watched() ? setTimeout(look, after) : null;
  }
  async function order(name, argument = "") {
    try {
      const news = await server[name](argument);
      away = false;
      take(news);
    } catch {
      away = true;
      say(words.unreachable);
      schedule(RETRY_MS);
    }
  }
  async function look() {
    await order("news");
    if (reading) await read();
  }
  const say = (sentence) => {
    $(".problem").hidden = !sentence;
    $(".problem").textContent = sentence;
  };

  function take(news) {
    if (!element.isConnected || (news.at ?? newest) < newest) return;
    newest = news.at ?? newest;
    say(news.problem ?? "");
    if (news.jobs) {
      state = news;
      paint();
    }
    schedule();
  }

  // ---- Painting
  const show = (row, name, shown) => {
    row.querySelector(`[data-do="${name}"]`).hidden = !shown;
  };

  function paint() {
    const waiting = state.jobs.filter((job) => job.status === "queued");
    rows($(".jobs"), $("template.of-job"), state.jobs, (row, job) => {
      row.dataset.status = job.status;
      show(row, "up", job.status === "queued" && job.position > 1);
      show(row, "down", job.status === "queued" && job.position < state.waiting);
      show(row, "cancel", job.can_cancel);
      show(row, "kill_job", job.can_kill);
      const priority = row.querySelector('[name="priority"]');
      priority.hidden = job.status !== "queued";
      if (priority !== element.ownerDocument.activeElement) priority.value = job.priority;
    });
    $(".nothing").hidden = state.jobs.length > 0;
    $(".paused").hidden = !state.paused;
    $(".more").textContent = state.more ?? "";
    if (state.note) $(".note").textContent = state.note;
    show(element, "pause", !state.paused);
    show(element, "go_on", state.paused);
    show(element, "cancel_pending", waiting.length > 0);
    show(element, "cancel_others", waiting.length > 0 && state.jobs.length > waiting.length);
    rows($(".list"), $("template.of-run"), state.runs, paintRun);
    $(".empty").hidden = state.runs.length > 0;
    if (asked && (asked.hidden || !asked.isConnected)) settle();
  }

  function paintRun(row, run) {
    row.dataset.state = run.state;
    row.dataset.job = run.job;
    show(row, "stop", run.job && run.state === "training");
    show(row, "kill", run.job && ["training", "stopping"].includes(run.state));
    show(row, "resume", run.can_resume);
    row.querySelector(".extending").hidden = !run.can_extend;
    show(row, "clone", run.can_clone);
    show(row, "use", run.can_use);
    row.querySelector(".done").style.width = (run.fraction ?? 0) * 100 + "%";
  }

  // ---- The log
  async function read() {
    const id = reading;
    try {
      const found = await server.log({ id, word: $(".log input").value.trim() });
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
      $(".verdicts").replaceChildren(
        ...found.verdicts.map(({ level, sentence }) => {
          const row = Object.assign(document.createElement("li"), { textContent: sentence });
          row.dataset.level = level;
          return row;
        }),
      );
      if (follows) box.scrollTop = box.scrollHeight;
    } catch {
      say(words.unreachable);
    }
  }

  // ---- What cannot be taken back says what it does, and is done at the second press
  const GRAVE = ["kill", "kill_job", "cancel_pending", "cancel_others"];
  let asked = null; // the button that waits for its second press

  function doubt(button) {
    settle();
    asked = button;
    button.dataset.label = button.textContent;
    button.textContent = words.really;
    button.classList.add("yes");
    button.before(
      Object.assign(document.createElement("span"), { className: "doubt", role: "status", textContent: button.title }),
    );
    const keep = Object.assign(document.createElement("button"), {
      type: "button",
      className: "doubt",
      textContent: words.no,
    });
    keep.dataset.do = "keep";
    button.after(keep);
  }

  function settle() {
    if (!asked) return;
    asked.textContent = asked.dataset.label;
    asked.classList.remove("yes");
    for (const part of element.querySelectorAll(".doubt")) part.remove();
    asked = null;
  }

  // ---- Hands
  // The focus stays with the job that was moved: on the same button, or on the other one at an end of the queue.
  async function move(row, by) {
    const place = state.jobs.find((job) => job.id === row.dataset.id).position;
    await order("move", { id: row.dataset.id, to: place + by });
    const [same, other] = (by < 0 ? ["up", "down"] : ["down", "up"]).map((name) =>
      row.querySelector(`[data-do="${name}"]`),
    );
    const { activeElement } = document,
      elsewhere = activeElement !== document.body && !row.contains(activeElement);
    if (!elsewhere) (same.hidden ? other : same).focus();
  }

  const hands = {
    up: (row) => move(row, -1),
    down: (row) => move(row, 1),
    keep() {
      const button = asked;
      settle();
      button?.focus();
    },
    cancel: (row) => order("cancel", row.dataset.id),
    stop: (row) => order("cancel", row.dataset.job),
    kill: (row) => order("kill", row.dataset.job),
    kill_job: (row) => order("kill", row.dataset.id),
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
    pause: () => order("pause"),
    go_on: () => order("go_on"),
    cancel_pending: () => order("cancel_pending"),
    cancel_others: () => order("cancel_others"),
  };
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    const name = button.dataset.do;
    if (GRAVE.includes(name)) {
      if (button !== asked) return doubt(button);
      if (event.detail > 1) return; // the second half of a double click
      settle();
    }
    hands[name](button.closest("li"));
  });
  element.addEventListener("input", (event) => event.target.closest(".log") && read());
  element.addEventListener("change", async (event) => {
    if (event.target.name !== "priority") return;
    await order("prioritise", { id: event.target.closest("li").dataset.id, priority: event.target.value });
    event.target.blur();
  });
  listen(element, "visibilitychange", () => schedule(0));
  new IntersectionObserver(() => schedule(0)).observe(element.parentElement);
  watch("value", () => take(props.value));
  paint();
  take(props.value ?? {});
}
