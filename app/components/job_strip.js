// The jobs that are not over, and how far they are. `props.value` = {jobs: [see app/views/jobs.py]}. Asks the server for
// news only while a job is active and somebody can see it. Event "job_ended" {ids}: jobs that were done since the last look.
const { words } = props;
const { fill, stamp, visible } = window.dailies;
const $ = (selector) => element.querySelector(selector);
const ASK_MS = 400, RETRY_MS = 2000;
const dismissed = new Set(JSON.parse(sessionStorage.getItem("dailies.dismissed") ?? "[]"));
let jobs = new Map(), timer = null, newest = 0;

// ---- Asking
const active = () => [...jobs.values()].some((job) => !job.over);
const watched = () => visible(element.parentElement) && !document.hidden;

function schedule(after = ASK_MS) {
  clearTimeout(timer);
  timer = active() && watched() ? setTimeout(ask, after) : null;
}

async function ask() {
  try {
    take(await server.news());
  } catch {
    say(words.unreachable);
    schedule(RETRY_MS);
  }
}

const order = async (name, id) => take(await server[name](id));

// ---- Taking news in; what was overtaken by newer news is dropped
function take(news) {
  if (!element.isConnected || (news.at ?? newest) < newest) return;
  newest = news.at ?? newest;
  say(news.problem ?? "");
  if (news.jobs) {
    const before = jobs;
    jobs = new Map(news.jobs.map((job) => [job.id, job]));
    paint();
    const done = [...before.values()].filter((job) => !job.over && !jobs.has(job.id)).map((job) => job.id);
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
  const list = shown(), rows = $(".jobs");
  while (rows.children.length > list.length) rows.lastElementChild.remove();
  while (rows.children.length < list.length) rows.append(stamp($("template")));
  list.forEach((job, index) => paintJob(rows.children[index], job));
  showIfAny();
}

function paintJob(row, job) {
  fill(row, job);
  row.dataset.id = job.id;
  row.dataset.status = job.status;
  row.classList.toggle("is-bad", job.over);
  row.querySelector('[data-do="cancel"]').hidden = !job.can_cancel;
  row.querySelector('[data-do="retry"]').hidden = !job.can_retry;
  row.querySelector('[data-do="dismiss"]').hidden = !job.over;
  const track = row.querySelector(".track"), known = job.fraction !== null;
  track.classList.toggle("is-unknown", !known);
  track.setAttribute("aria-label", job.line);
  if (known) track.setAttribute("aria-valuenow", Math.round(job.fraction * 100));
  else track.removeAttribute("aria-valuenow");
  row.querySelector(".done").style.width = known ? job.fraction * 100 + "%" : "";
}

const hands = {
  cancel: (id) => order("cancel", id),
  retry: (id) => { dismiss(id); return order("again", id); },
  dismiss,
};

function dismiss(id) {
  dismissed.add(id);
  sessionStorage.setItem("dailies.dismissed", JSON.stringify([...dismissed]));
  paint();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) hands[button.dataset.do](button.closest(".job").dataset.id);
});
window.dailies.listen(element, "visibilitychange", () => schedule(0));
new IntersectionObserver(() => schedule(0)).observe(element.parentElement); // a hidden tab was shown again

watch("value", () => take(props.value));
take(props.value ?? { jobs: [] });
