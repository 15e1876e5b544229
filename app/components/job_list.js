// The jobs that are not over, and how far they are. `props.value` = {jobs: [see app/views/jobs.py]}. Asks the server
// for news only while a job is active and visible. Events: "job_ended" {ids}, jobs that were done since the
// last look; "job_failed" {ids}, those that came to another end.
import { listen, rows, visible } from "../scripts/dom.js";
import { session } from "../scripts/storage.js";
import { jobAnnouncer } from "./job_announcer.js";

export default function mount({ element, trigger, props, server, watch }) {
  const { words } = props;
  const speak = jobAnnouncer(words.done);
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 400,
    RETRY_MS = 2000;
  const dismissed = new Set(JSON.parse(session.get("dailies.dismissed") ?? "[]"));
  let jobs = new Map(),
    timer = null,
    newest = 0,
    away = false;

  // ---- Asking
  const active = () => [...jobs.values()].some((job) => !job.over);
  const watched = () => visible(element.parentElement) && !document.hidden;

  function schedule(after = ASK_MS) {
    clearTimeout(timer);
    timer = (active() || away) && watched() ? setTimeout(ask, after) : null;
  }

  const ask = () => order("news");

  // Whether it was done.
  async function order(name, id = "") {
    try {
      const news = await server[name](id);
      away = false;
      take(news);
      return !news.problem;
    } catch {
      away = true;
      say(words.unreachable);
      schedule(RETRY_MS);
      return false;
    }
  }

  // ---- Taking news in; what was overtaken by newer news is dropped
  function take(news) {
    if (!element.isConnected || (news.at ?? newest) < newest) return;
    newest = news.at ?? newest;
    say(news.problem ?? "");
    if (news.jobs) {
      const before = jobs;
      jobs = new Map(news.jobs.map((job) => [job.id, job]));
      paint();
      if (newest) speak(before, jobs); // the empty strip that the page begins with knows of nothing
      const ended = [...before.values()]
        .filter((job) => !job.over && (jobs.get(job.id)?.over ?? true))
        .map((job) => job.id);
      const failed = ended.filter((id) => jobs.has(id)),
        done = ended.filter((id) => !jobs.has(id));
      if (failed.length) trigger("job_failed", { ids: failed });
      if (done.length) trigger("job_ended", { ids: done });
    }
    schedule();
  }

  function say(sentence) {
    $(".problem").hidden = !sentence;
    $(".problem").textContent = sentence;
    showIfAny();
  }

  // ---- Painting
  const shown = () => [...jobs.values()].filter((job) => !dismissed.has(job.id));
  const showIfAny = () => $(".strip").classList.toggle("is-shown", shown().length > 0 || !$(".problem").hidden);

  function paint() {
    rows($(".jobs"), $("template"), shown(), paintJob);
    showIfAny();
  }

  function paintJob(row, job) {
    row.dataset.status = job.status;
    row.classList.toggle("is-bad", job.over);
    row.querySelector('[data-do="cancel"]').hidden = !job.can_cancel;
    row.querySelector('[data-do="kill"]').hidden = !job.can_kill;
    row.querySelector('[data-do="retry"]').hidden = !job.can_retry;
    row.querySelector('[data-do="dismiss"]').hidden = !job.over;
    const track = row.querySelector(".track"),
      known = job.fraction !== null;
    track.classList.toggle("is-unknown", !known);
    track.setAttribute("aria-label", job.line);
    if (known) track.setAttribute("aria-valuenow", Math.round(job.fraction * 100));
    else track.removeAttribute("aria-valuenow");
    row.querySelector(".done").style.width = known ? job.fraction * 100 + "%" : "";
  }

  const hands = {
    cancel: (id) => order("cancel", id),
    kill: (id) => order("kill", id),
    retry: async (id) => (await order("again", id)) && dismiss(id),
    dismiss,
  };

  function dismiss(id) {
    dismissed.add(id);
    session.set("dailies.dismissed", JSON.stringify([...dismissed]));
    paint();
  }

  const pressed = new Set(); // what is on its way to the server: a second press does not send it twice
  element.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    const { id } = button.closest(".job").dataset,
      press = button.dataset.do + id;
    if (pressed.has(press)) return;
    pressed.add(press);
    await hands[button.dataset.do](id);
    pressed.delete(press);
  });
  listen(element, "visibilitychange", () => schedule(0));
  new IntersectionObserver(() => schedule(0)).observe(element.parentElement); // a hidden tab was shown again

  watch("value", () => take(props.value));
  take(props.value ?? { jobs: [] });
}
