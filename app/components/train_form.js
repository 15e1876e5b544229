// A preset as a form. `props.value` = {presets, curricula, about, offered, settings: [see app/views/training/train_form.py], choices}, or
// with `stages` instead of `offered` and `settings` (app/views/training/curricula.py). The server is asked what the choices need
// after each change. Event: run_submitted {run}.
import { copy } from "../scripts/clipboard.js";
import { make, showLine } from "../scripts/dom.js";
import { fieldIcons } from "../scripts/hints.js";
import { reach } from "../scripts/server.js";
import { readJson, storage } from "../scripts/storage.js";
import {
  checkTable,
  fillSelect,
  findSettings,
  markMistakes,
  settingGroups,
  settingRow,
  showFacts,
} from "./train_settings.js";

export default function mount({ element, trigger, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 250,
    POLL_MS = 600,
    RETRY_MS = 2000;
  const KEPT = "dailies.train"; // the last choices: a reload keeps them
  let form = null,
    typed = {},
    asking = null,
    asked = 0;
  let opened = 0,
    pending = false; // how many forms were wanted so far, and whether the last one is on its way
  let ready = false; // whether what is shown can be queued
  const busy = new Set(); // the actions whose work is not done yet
  fieldIcons(element, words);
  const named = (name) => $(`[name="${name}"]`);
  const say = (sentence, missing = "") => {
    $(".problem").hidden = !sentence;
    $(".problem span").textContent = sentence;
    $(".problem a").hidden = missing !== "models";
  };
  const note = (sentence) => showLine($(".note"), sentence);
  const options = (name, list, value) => fillSelect(named(name), list, value);

  async function call(name, argument) {
    const answer = await reach(server, name, argument);
    say(answer.problem ?? "");
    return answer.problem ? null : answer;
  }

  function paintActions() {
    for (const button of element.querySelectorAll(".actions button"))
      button.disabled = !ready || pending || busy.has(button.dataset.do);
    $('[data-do="keep"]').disabled = pending;
  }

  // ---- Showing a form
  const PLACES = ["model", "adapter", "prompts", "mix", "rewards", "pairs", "campaign", "judge", "judge_agreement"];

  function show(value) {
    if (!value?.choices) return;
    form = { settings: [], ...value };
    $(".preset-form").classList.remove("is-loading");
    typed = {};
    opened += 1;
    pending = ready = false;
    paintActions();
    const { choices, about } = form;
    const presets = choices.run
      ? [{ key: "", title: words.from_run.replace("{run}", choices.run) }, ...form.presets]
      : form.presets;
    options("preset", presets, choices.curriculum || choices.run ? "" : choices.preset);
    const group = make(
      "optgroup",
      { label: words.curricula },
      ...form.curricula.map(({ key, title }) => make("option", { value: key, textContent: title })),
    );
    if (form.curricula.length) named("preset").append(group);
    named("preset").value = shown();
    $(".does").textContent = about.does;
    $(".about p").textContent = [
      about.source && `${words.source}: ${about.source}.`,
      about.notes && `${words.measured}: ${about.notes}`,
    ]
      .filter(Boolean)
      .join("\n")
      .replaceAll("..", ".");
    $(".about").hidden = !about.source && !about.notes;
    $(".preset-form").classList.toggle("of-curriculum", !!form.stages);
    $(".stages").hidden = !form.stages;
    if (form.stages) showStages();
    else showPreset();
    $(".verdicts").hidden = $(".shell").hidden = $(".saving").hidden = true;
    note("");
    ask(0);
  }

  // The current form's entry in the list of presets.
  const shown = () =>
    form.choices.curriculum ? "curriculum:" + form.choices.curriculum : form.choices.run ? "" : form.choices.preset;

  // Another preset. Until it is there nothing can be queued; when it does not come, the form and the list keep the former one.
  async function open(name) {
    const mine = ++opened;
    pending = name !== shown();
    paintActions();
    if (!pending) return; // chosen back before the other one came
    const found = await reach(server, "open", name);
    if (mine !== opened) return;
    say(found.away ? words.not_opened : (found.problem ?? ""));
    if (!found.problem) return show(found);
    pending = false;
    named("preset").value = shown();
    paintActions();
  }

  function showStages() {
    $(".stages ol").replaceChildren(
      ...form.stages.map(({ name, told, gate }) =>
        make(
          "li",
          {},
          name,
          make("small", { textContent: told }),
          make("small", { textContent: words.gate + " " + gate.join(", ") }),
        ),
      ),
    );
  }

  function showPreset() {
    const { offered, choices } = form;
    options("model", offered.models, choices.model);
    options("mix", offered.mixes, choices.mix);
    options("prompts", offered.prompts, choices.prompts);
    showCampaigns(choices.campaign);
    showJudges(choices.judge);
    for (const name of ["rewards", "pairs", "judge_agreement"]) named(name).value = choices[name];
    for (const field of element.querySelectorAll(".for-mix, .for-prompts")) field.hidden = !offered.makes_clips;
    for (const field of element.querySelectorAll(".for-pairs")) field.hidden = offered.makes_clips;
    showFile();
    showAdapters();
    showSettings();
  }

  function showFile() {
    const of = form.offered.makes_clips ? "" : named("campaign").value;
    $(".file").hidden = form.offered.makes_clips || of !== "";
    for (const field of element.querySelectorAll(".of-campaign")) field.hidden = !of;
  }

  function showCampaigns(chosen) {
    const { campaigns } = form.offered;
    options(
      "campaign",
      [{ key: "", title: campaigns.length ? words.pairs_file : words.no_campaigns }, ...campaigns],
      chosen,
    );
  }

  const showJudges = (chosen) => options("judge", [{ key: "", title: words.no_judge }, ...form.offered.judges], chosen);

  function showAdapters(chosen = "") {
    const adapters = form.offered.adapters[named("model").value] ?? [];
    options("adapter", [{ key: "", title: words.no_adapter }, ...adapters], chosen);
  }

  function showSettings() {
    const rows = form.settings.map((setting) => ({ ...setting, row: settingRow($("template"), setting, words) }));
    $(".front").replaceChildren(...rows.filter(({ front }) => front).map(({ row }) => row));
    $(".rest").replaceChildren(
      ...settingGroups(
        rows.filter(({ front }) => !front),
        words.groups,
      ),
    );
    mark();
  }

  function mark() {
    for (const row of element.querySelectorAll(".setting")) {
      const changed = row.dataset.name in typed;
      row.classList.toggle("is-changed", changed);
      row.querySelector(".back").hidden = !changed;
    }
    for (const name of PLACES)
      named(name)
        .closest(".field")
        .classList.toggle("is-changed", named(name).value !== (form.choices[name] ?? ""));
    const folded = form.settings.filter((setting) => !setting.front && setting.name in typed).length;
    $(".count").textContent = folded ? words.changed.replace("{count}", folded) : "";
  }

  // ---- What is chosen, and what it needs
  const choices = () => ({
    ...form.choices,
    ...Object.fromEntries([...PLACES, "share"].map((name) => [name, named(name).value.trim()])),
    settings: { ...typed },
  });

  function ask(after = ASK_MS) {
    const mine = ++asked;
    clearTimeout(asking);
    if (!form.choices.run) storage.set(KEPT, JSON.stringify({ name: shown(), chosen: choices() }));
    if (!$(".verdicts").hidden) note(words.checked_before);
    asking = setTimeout(async () => {
      const found = await reach(server, "estimate", choices());
      if (mine !== asked || !element.isConnected) return;
      say(found.problem ?? found.blocked ?? "", found.missing);
      markMistakes(element, found.fields ?? {});
      ready = !found.problem && !found.blocked;
      paintActions();
      if (!found.problem) showEstimate(found);
      if (found.away) ask(RETRY_MS);
    }, after);
  }

  function showEstimate({ memory, time, command, facts }) {
    showFacts(element, facts);
    $(".memory").dataset.verdict = memory.verdict;
    $(".memory span").textContent = memory.sentence;
    $(".gauge div").style.width = (memory.share ?? 0) * 100 + "%";
    $(".time").textContent = time;
    $(".shell code").textContent = command;
  }

  // ---- Coming back to it
  async function arrive(value) {
    if (form && value?.fresh) return; // it is filled already
    const before = value?.fresh ? readJson(KEPT, null) : null,
      mine = opened;
    const found = before && (await reach(server, "open", before.name));
    if (mine !== opened) return; // another one came meanwhile
    if (!found?.choices) return show(value);
    show(found);
    if (!form.stages) refill(before.chosen);
  }

  function refill(chosen) {
    const put = (field, value) => {
      if (field && (!field.options || [...field.options].some((one) => one.value === value))) field.value = value;
    };
    put(named("model"), chosen.model);
    showAdapters();
    for (const name of [...PLACES, "share"]) put(named(name), chosen[name] ?? "");
    for (const [name, value] of Object.entries(chosen.settings ?? {})) {
      const field = element.querySelector(`[data-setting="${CSS.escape(name)}"]`);
      put(field, value);
      if (field?.value === value) typed[name] = value;
    }
    $(".more").open = form.settings.some((setting) => !setting.front && setting.name in typed);
    showFile();
    mark();
    ask(0);
  }

  // Models, campaigns and adapters that came while the form was out of sight; what is chosen and typed stays.
  async function offer() {
    const shown = form?.offered,
      found = shown && (await reach(server, "offered"));
    if (!found?.adapters || shown !== form.offered) return;
    Object.assign(shown, found);
    options("model", shown.models, named("model").value);
    ask(0);
    showCampaigns(named("campaign").value);
    showJudges(named("judge").value);
    showAdapters(named("adapter").value);
  }
  new IntersectionObserver((entries) => entries.at(-1).isIntersecting && offer()).observe(element); // its tab was opened

  // ---- Actions
  const actions = {
    async queue() {
      const submitted = await call("queue", { ...choices(), name: named("run_name").value.trim() });
      if (submitted) {
        named("run_name").value = "";
        note(submitted.note);
        trigger("run_submitted", { run: submitted.run });
      }
    },
    async check() {
      const of = form,
        looked = choices();
      note(words.checking);
      $(".verdicts").hidden = true;
      const submitted = await call("check", looked);
      if (submitted) trigger("run_submitted", { run: "" });
      const found = submitted && (await verdicts(submitted.job, of));
      if (form !== of) return; // another preset is shown: they are not about it
      if (found?.failed) say(found.ended);
      note(found?.failed ? "" : (found?.ended ?? ""));
      if (!found) return;
      $(".verdicts").hidden = !found.verdicts.length;
      $(".verdicts table").replaceChildren(...checkTable(found.verdicts, words));
      if (JSON.stringify(choices()) !== JSON.stringify(looked)) note(words.checked_before);
    },
    command() {
      $(".shell").hidden = !$(".shell").hidden;
    },
    copy(button) {
      copy(button, $(".shell code").textContent);
    },
    save() {
      $(".saving").hidden = !$(".saving").hidden;
      if (!$(".saving").hidden) named("key").focus();
    },
    async keep() {
      const kept = await call("save", { ...choices(), key: named("key").value.trim() });
      if (kept) {
        show(kept.form);
        note(kept.note);
      }
    },
    back(button) {
      const { name } = button.closest(".setting").dataset;
      const field = element.querySelector(`[data-setting="${name}"]`);
      field.value = form.settings.find((one) => one.name === name).value;
      field.focus(); // the button hides
      delete typed[name];
      mark();
      ask();
    },
  };

  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    event.preventDefault();
    press(button.dataset.do, button);
  });
  async function press(name, button) {
    if (busy.has(name)) return;
    busy.add(name);
    paintActions();
    try {
      await actions[name](button);
    } finally {
      busy.delete(name);
    }
    paintActions();
  }
  element.addEventListener("submit", (event) => event.preventDefault());
  element.addEventListener("input", (event) => {
    const { name, dataset, value } = event.target;
    if (event.target.matches(".find")) return findSettings(element, value.trim().toLowerCase());
    if (dataset.setting) {
      if (value === form.settings.find((one) => one.name === dataset.setting).value) delete typed[dataset.setting];
      else typed[dataset.setting] = value;
    } else if (name === "preset") {
      return open(value);
    } else if (name === "campaign") {
      showFile();
    } else if (name === "model") {
      showAdapters();
    }
    if (["key", "run_name"].includes(name)) return;
    mark();
    ask();
  });

  // The result of a preflight check. Retries while the server is away; null when the check cannot be found any more,
  // or is no longer of the form that is shown.
  async function verdicts(job, of) {
    while (form === of && element.isConnected) {
      await new Promise((done) => setTimeout(done, POLL_MS));
      const found = await reach(server, "verdicts", job);
      if (form !== of) return null;
      if (found.away) {
        note(found.problem);
        continue;
      }
      if (found.problem) {
        say(found.problem);
        return null;
      }
      if (found.over) return found;
      note(found.waits ? found.note : words.checking);
    }
    return null;
  }

  options(
    "share",
    Object.entries(words.shares)
      .sort(([a], [b]) => (b || 1) - (a || 1))
      .map(([key, title]) => ({ key, title })),
    "",
  );
  watch("value", () => arrive(props.value));
  arrive(props.value);
}
