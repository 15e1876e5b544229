// One line for the current job of the kinds `props.kinds`; the queue in the header shows all. `props.value` = {active:
// ids, at}, what the server has under way. Events: "job_ended" {ids}, of jobs that are done since the last look;
// "job_failed" {ids}, of those that came to another end. A hidden tab's events wait until it is shown.
import { confirming } from "../scripts/confirm.js";
import { fill, visible } from "../scripts/dom.js";
import { cloneRun, follow, latestNews, openQueue, orderJob, readNow, statesOf } from "../scripts/job_news.js";
import { jobPreview } from "./job_preview.js";
import { paintTrack } from "./job_rows.js";

export default function mount({ element, trigger, props, watch }) {
  const $ = (selector) => element.querySelector(selector);
  const row = $(".job");
  const active = new Set(); // ids
  const doubt = confirming(element, props.words);
  const preview = props.player ? jobPreview({ line: $(".watch-line"), name: props.player, words: props.words }) : null;
  let newest = 0,
    shown = null, // the job of the line
    failed = null; // the last one that came to a bad end here

  const mine = (job) => props.kinds.includes(job.kind_key) && job.of_campaign === props.campaigns;

  function begin({ active: ids = [], at = 0 } = {}) {
    ids.forEach((id) => active.add(id));
    newest = Math.max(newest, at);
    if (ids.length || at) readNow();
  }

  async function take(news) {
    if (!news || news.at < newest || !visible(element.parentElement)) return;
    newest = news.at;
    const now = news.jobs.filter(mine),
      ids = new Set(now.map((job) => job.id)),
      ended = new Map(news.ended.map((job) => [job.id, job]));
    const states = new Map([...ended].map(([id, job]) => [id, job.status]));
    const gone = [...active].filter((id) => !ids.has(id));
    const unlisted = news.more ? [] : gone.filter((id) => !ended.has(id)); // only the jobs that ended last are listed
    if (unlisted.length) {
      const found = await statesOf(unlisted);
      if (newest !== news.at) return; // later news came meanwhile, and asked as well
      if (!("problem" in found)) unlisted.forEach((id) => states.set(id, found[id] ?? "withdrawn"));
    }
    const over = gone.filter((id) => states.has(id));
    over.forEach((id) => active.delete(id));
    ids.forEach((id) => active.add(id));
    const bad = over.filter((id) => !["done", "withdrawn"].includes(states.get(id))),
      done = over.filter((id) => states.get(id) === "done");
    if (bad.length) failed = ended.get(bad.findLast((id) => ended.has(id))) ?? failed;
    // Its run continues, or can no longer be resumed.
    if (done.length || now.some((job) => job.run && job.run === failed?.run)) failed = null;
    if (failed) failed = ended.get(failed.id) ?? failed;
    preview?.take(now, states);
    paint(now);
    if (bad.length) trigger("job_failed", { ids: bad });
    if (done.length) trigger("job_ended", { ids: done });
  }

  function paint(now) {
    shown = now[0] ?? failed;
    row.hidden = !props.line || !shown;
    if (!shown) return;
    const { words } = props;
    fill(row, { ...shown, line: shown.line || (shown.over ? shown.state : "") });
    row.dataset.id = shown.id;
    row.dataset.status = shown.status;
    row.classList.toggle("is-bad", shown.over);
    row.title = `${shown.title}: ${shown.line}`;
    row.querySelector(".others").textContent = now.length > 1 ? words.more.replace("{count}", now.length - 1) : "";
    for (const name of ["cancel", "kill", "retry", "clone"])
      row.querySelector(`[data-do="${name}"]`).hidden = !shown[`can_${name}`];
    doubt.check();
    row.querySelector('[data-do="dismiss"]').hidden = !shown.over;
    const button = row.querySelector('[data-do="preview"]');
    button.hidden = !preview?.isOf(shown.id);
    button.setAttribute("aria-pressed", String(preview?.isShown()));
    paintTrack(row, shown);
  }

  const forget = () => {
    failed = null;
    paint(latestNews()?.jobs.filter(mine) ?? []);
  };
  const actions = {
    cancel: (id) => orderJob("cancel_job", id),
    kill: (id) => orderJob("kill_job", id),
    keep: () => doubt.keep(),
    clone: () => cloneRun(shown.run),
    retry: async (id) => (await orderJob("retry_job", id)) && forget(),
    open: (id) => openQueue(id),
    dismiss: forget,
    preview() {
      preview.toggle();
      paint(latestNews()?.jobs.filter(mine) ?? []);
    },
  };
  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button || (button.dataset.do === "kill" && !doubt.passes(event, button))) return;
    actions[button.dataset.do](shown.id);
  });
  new IntersectionObserver(() => take(latestNews())).observe(element.parentElement); // a hidden tab was shown again

  watch("value", () => begin(props.value));
  begin(props.value);
  follow(element, take);
}
