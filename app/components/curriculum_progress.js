// Curricula under way and over. `props.value` = {curricula: [see app/views/training/curriculum_progress.py]}. Asks
// `server.news()` for what is new while one of them is running and visible.
import { confirming } from "../scripts/confirm.js";
import { make, showLine } from "../scripts/dom.js";
import { poll, reach } from "../scripts/server.js";

export default function mount({ element, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 4000;
  const doubt = confirming(element, words);
  let running = false,
    before = "";
  const schedule = poll(
    element.parentElement,
    async () => show(await reach(server, "news")),
    () => (running ? ASK_MS : null),
  );

  function condition({ wanted, measured, verdict }) {
    const row = make("li", {}, wanted);
    row.dataset.verdict = verdict;
    row.append(make("span", {}, measured));
    return row;
  }

  function stage(one) {
    const box = make("li", { className: "stage" });
    box.dataset.state = one.state;
    box.append(make("b", {}, one.name), make("small", {}, one.detail));
    if (one.gate.length) {
      box.append(make("ul", { className: "gate" }, ...one.gate.map(condition)));
    }
    if (one.sentence) box.append(make("small", {}, one.sentence));
    return box;
  }

  function curriculum(one) {
    const box = make("div", { className: "curriculum" }),
      stages = make("ol", { className: "stages" });
    stages.append(...one.stages.map(stage));
    box.append(make("h3", {}, one.title), make("p", { className: "sentence" }, one.sentence), stages);
    if (one.can_resume) {
      const resume = make("button", { className: "resume", title: words.resume_hint }, words.resume);
      const abandon = make("button", { className: "abandon", title: words.abandon_hint }, words.abandon);
      resume.addEventListener("click", () => order(box, resume, "go_on", one.id));
      abandon.addEventListener("click", (event) => doubt.passes(event, abandon) && order(box, abandon, "end", one.id));
      box.append(make("div", { className: "actions" }, resume, abandon));
    }
    return box;
  }

  async function order(box, button, name, id) {
    button.disabled = true;
    const found = await reach(server, name, id);
    if (!found.problem) return show(found);
    box.querySelector(".sentence").textContent = found.problem;
    button.disabled = false;
  }

  function show(value) {
    showLine($(".problem"), value?.problem);
    if (!value?.curricula) return;
    running = value.curricula.some((one) => one.running);
    const now = JSON.stringify(value.curricula);
    if (now !== before) {
      before = now;
      $(".curricula").replaceChildren(...value.curricula.map(curriculum));
      doubt.check();
    }
    schedule();
  }

  element.addEventListener("click", ({ target }) => target.closest('[data-do="keep"]') && doubt.keep());
  watch("value", () => show(props.value));
  show(props.value);
}
