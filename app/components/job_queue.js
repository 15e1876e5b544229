// The queue in the header: a button that says how much runs and waits, and a drawer with all jobs, those that ended and
// the alarms of runs. Mounted by header.js. It alone reads the state of jobs (app/views/queue.py), the sooner while
// something is active, and tells the rest of the page (scripts/job_news.js).
import { confirming } from "../scripts/confirm.js";
import { listen, rows, showLine } from "../scripts/dom.js";
import { cloneRun, publish, serve } from "../scripts/job_news.js";
import { poll, reach } from "../scripts/server.js";
import { storage } from "../scripts/storage.js";
import { wantRun } from "../scripts/wanted_run.js";
import { jobAnnouncer } from "./job_announcer.js";
import { paintTrack } from "./job_rows.js";

const ACTIVE_MS = 700, // between two readings
  IDLE_MS = 5000,
  RETRY_MS = 2000,
  HISTORY = 20, // ended jobs; as many more with each press of "Show older"
  SEEN = "dailies.queue.seen"; // seconds: failures before this moment were looked at

export default function mount({ element, trigger, words, server }) {
  const root = element.querySelector(".queue");
  const $ = (selector) => root.querySelector(selector);
  const drawer = $(".drawer"),
    badge = $(".badge");
  const speak = jobAnnouncer(words.done);
  const doubt = confirming(drawer, words);
  const logs = new Map(); // the open logs' lines by job id
  let state = { jobs: [], ended: [], paused: false },
    newest = 0,
    away = false,
    history = HISTORY,
    wanted = "";

  // ---- Reading
  const read = () => order("read_jobs", { ended: history, alarms: !drawer.hidden });
  const schedule = poll(element, read, () => (away ? RETRY_MS : state.jobs.length ? ACTIVE_MS : IDLE_MS));

  // Resolves to whether it was done.
  async function order(name, argument = "") {
    const news = await reach(server, name, argument);
    away = Boolean(news.away);
    take(news);
    schedule();
    if (name !== "read_jobs" && history > HISTORY) read();
    return !news.problem;
  }

  function take(news) {
    if (!element.isConnected || (news.at ?? newest) < newest) return;
    say(news.problem ?? "");
    if (news.jobs) {
      const before = known();
      newest = news.at;
      state = { ...news, alarms: news.alarms ?? state.alarms };
      if (!storage.get(SEEN)) look();
      paint();
      speak(before, known(), new Set(news.ended.map((job) => job.id)));
      publish(state);
      readLogs();
    }
  }

  // What is active, and what came to a bad end, by id: an active job that ended and is in neither is done.
  const known = () => new Map([...state.ended.filter(isBad), ...state.jobs].map((job) => [job.id, job]));
  const isBad = (job) => job.over && job.status !== "done";

  function say(sentence) {
    showLine($(".problem"), sentence);
    paintBadge();
  }

  // ---- Painting
  const show = (row, name, shown) => {
    row.querySelector(`[data-do="${name}"]`).hidden = !shown;
  };
  const put = (text, count) => text.replace("{count}", count);

  function paintBadge() {
    const waiting = state.waiting ?? 0,
      running = state.jobs.filter((job) => job.status !== "queued").length;
    const parts = [
      running && put(words.running, running),
      waiting && put(words.waiting, waiting),
      state.paused && words.is_paused,
    ].filter(Boolean);
    const text = away ? words.away : parts.length ? parts.join(" · ") : words.idle;
    if ($(".count").textContent !== text) $(".count").textContent = text;
    badge.classList.toggle("is-busy", running > 0);
    badge.classList.toggle("is-away", away);
    const since = Number(storage.get(SEEN) ?? 0),
      failed = state.ended.filter((job) => isBad(job) && job.status !== "cancelled" && job.ended_s > since).length;
    $(".unread").hidden = failed === 0;
    $(".unread").textContent = failed || "";
    badge.title = failed ? put(words.unread, failed) : words.queue;
    badge.setAttribute(
      "aria-label",
      [words.queue, text === words.queue ? "" : text, failed ? badge.title : ""].filter(Boolean).join(", "),
    );
  }

  function paint() {
    const held = drawer.contains(document.activeElement);
    const waiting = state.jobs.filter((job) => job.status === "queued");
    rows($(".jobs"), $("template.of-job"), state.jobs, paintJob);
    const onlyBad = $('[name="ends"]').value === "bad";
    rows($(".ended"), $("template.of-job"), onlyBad ? state.ended.filter(isBad) : state.ended, paintJob);
    rows($(".alarms"), $("template.of-alarm"), state.alarms ?? [], () => {});
    $(".of-alarms").hidden = !state.alarms?.length;
    $(".nothing").hidden = state.jobs.length > 0;
    $(".no-history").hidden = state.ended.length > 0;
    $(".paused").hidden = !state.paused;
    $(".more").textContent = state.more ?? "";
    if (state.note) $(".note").textContent = state.note;
    show(drawer, "pause", !state.paused);
    show(drawer, "go_on", state.paused);
    show(drawer, "cancel_pending", waiting.length > 0);
    show(drawer, "cancel_others", waiting.length > 0 && state.jobs.length > waiting.length);
    show(drawer, "older", Boolean(state.older));
    doubt.check();
    paintBadge();
    if (held && document.activeElement === document.body) drawer.focus({ preventScroll: true }); // its row is gone
  }

  function paintJob(row, job) {
    row.dataset.status = job.status;
    row.classList.toggle("is-bad", isBad(job));
    row.classList.toggle("is-over", job.over);
    row.classList.toggle("is-wanted", job.id === wanted);
    row.querySelector(".title").title = job.title;
    show(row, "up", job.status === "queued" && job.position > 1);
    show(row, "down", job.status === "queued" && job.position < state.waiting);
    show(row, "cancel", job.can_cancel);
    show(row, "kill", job.can_kill);
    show(row, "retry", job.can_retry);
    show(row, "clone", job.can_clone);
    show(row, "log", job.has_log);
    const priority = row.querySelector('[name="priority"]');
    priority.hidden = job.status !== "queued";
    if (priority !== document.activeElement) priority.value = job.priority;
    paintTrack(row, job);
    paintLog(row, job.id);
  }

  // ---- Logs
  function paintLog(row, id) {
    const box = row.querySelector("pre"),
      follows = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    row.querySelector('[data-do="log"]').setAttribute("aria-expanded", String(logs.has(id)));
    box.hidden = !logs.has(id);
    if (box.hidden || box.textContent === logs.get(id)) return;
    box.textContent = logs.get(id);
    if (follows) box.scrollTop = box.scrollHeight;
  }

  async function readLog(id) {
    const found = await reach(server, "read_job_log", id);
    if (found.away) return say(found.problem);
    if (!logs.has(id)) return;
    logs.set(id, found.problem ?? (found.lines || words.no_lines));
    const row = drawer.querySelector(`.job[data-id="${id}"]`);
    if (row) paintLog(row, id);
  }
  const readLogs = () => state.jobs.filter((job) => logs.has(job.id)).forEach((job) => readLog(job.id));

  // ---- Opening
  const look = () => storage.set(SEEN, String(Date.now() / 1000));

  function open(id = "") {
    wanted = id;
    drawer.hidden = false;
    badge.setAttribute("aria-expanded", "true");
    look();
    paint();
    read();
    drawer.focus({ preventScroll: true });
    drawer.querySelector(".is-wanted")?.scrollIntoView({ block: "nearest" });
  }

  function close({ refocus = true } = {}) {
    if (drawer.hidden) return;
    look();
    drawer.hidden = true;
    badge.setAttribute("aria-expanded", "false");
    paintBadge();
    if (refocus) badge.focus({ preventScroll: true });
  }

  // ---- Actions
  // The focus stays with the job that was moved: on the same button, or on the other one at an end of the queue.
  async function move(row, by) {
    const place = state.jobs.find((job) => job.id === row.dataset.id).position;
    await order("move_job", { id: row.dataset.id, to: place + by });
    const [same, other] = (by < 0 ? ["up", "down"] : ["down", "up"]).map((name) =>
      row.querySelector(`[data-do="${name}"]`),
    );
    const { activeElement } = document,
      elsewhere = activeElement !== document.body && activeElement !== drawer && !row.contains(activeElement);
    if (!elsewhere) (same.hidden ? other : same).focus();
  }

  const GRAVE = ["kill", "cancel_pending", "cancel_others"];
  const actions = {
    close: () => close(),
    up: (row) => move(row, -1),
    down: (row) => move(row, 1),
    keep: () => doubt.keep(),
    cancel: (row) => order("cancel_job", row.dataset.id),
    kill: (row) => order("kill_job", row.dataset.id),
    retry: (row) => order("retry_job", row.dataset.id),
    clone(row) {
      cloneRun(state.ended.find((job) => job.id === row.dataset.id).run);
      close({ refocus: false });
    },
    pause: () => order("pause"),
    go_on: () => order("go_on"),
    cancel_pending: () => order("cancel_pending"),
    cancel_others: () => order("cancel_others"),
    older() {
      history += HISTORY;
      read();
    },
    log({ dataset: { id } }) {
      if (logs.delete(id)) return paint();
      logs.set(id, "");
      paint();
      readLog(id);
    },
    watch(row) {
      wantRun(state.alarms.find((alarm) => alarm.id === row.dataset.id).run);
      trigger("arrive_at", { tab: "monitor" });
      close({ refocus: false });
    },
  };

  const pressed = new Set(); // what is on its way to the server: a second press does not send it twice
  drawer.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    const name = button.dataset.do,
      row = button.closest("li"),
      press = name + (row?.dataset.id ?? "");
    if (pressed.has(press) || (GRAVE.includes(name) && !doubt.passes(event, button))) return;
    pressed.add(press);
    button.setAttribute("aria-busy", "true");
    await actions[name](row);
    button.removeAttribute("aria-busy");
    pressed.delete(press);
  });
  drawer.addEventListener("change", async ({ target }) => {
    if (target.name === "ends") return paint();
    await order("prioritise", { id: target.closest("li").dataset.id, priority: target.value });
    target.blur();
  });
  listen(element, "keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || drawer.hidden) return;
    event.preventDefault();
    close();
  });
  badge.addEventListener("click", () => (drawer.hidden ? open() : close()));
  listen(element, "pointerdown", ({ target }) => root.contains(target) || close({ refocus: false }));
  listen(element, "dailies:queue", ({ detail }) => open(detail));
  listen(element, "dailies:clone", ({ detail }) => trigger("clone_run", { run: detail }));
  listen(element, "dailies:submitted", () => schedule(0));
  serve(order, (ids) => reach(server, "read_states", ids));
  paint();
}
