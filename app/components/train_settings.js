// The rows of a preset's settings, and its lists.
import { make, stamp } from "../scripts/dom.js";
import { labelIcon } from "../scripts/hints.js";

// Preflight checks as the head and the rows of a table.
export function checkTable(checks, words) {
  const heads = Object.values(words.check_heads).map((head) => make("th", { scope: "col" }, head));
  const rows = checks.map(({ name, level, sentence }) => {
    const result = make("td", { className: "result" }, words.levels[level]);
    const row = make("tr", {}, make("th", { scope: "row" }, words.checks[name] ?? name), result);
    row.append(make("td", {}, sentence));
    row.dataset.level = level;
    return row;
  });
  return checks.length ? [make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)] : [];
}

const unset = (setting, words) => (setting.group === "clip" ? words.empty : words.none);

export function settingRow(template, setting, words) {
  const row = stamp(template);
  const input = control(setting, words);
  row.dataset.name = setting.name;
  row.title = sourceOf(setting, words);
  const label = row.querySelector(".label");
  label.textContent = setting.label;
  row.querySelector(".name").append(...breakable(setting.name), ...unitOf(setting));
  const help = row.querySelector(".help"),
    mistake = row.querySelector(".mistake");
  help.textContent = [setting.help, setting.range && words.range.replace("{range}", setting.range)]
    .filter(Boolean)
    .join(" ");
  help.id = `help-${setting.name}`;
  mistake.id = `mistake-${setting.name}`;
  labelIcon(label, input, words.about, help.textContent);
  input.ariaLabel = [setting.label, setting.name, setting.unit].filter(Boolean).join(" "); // without the icon's name
  input.setAttribute("aria-describedby", `${help.id} ${mistake.id}`);
  input.dataset.setting = setting.name;
  input.value = setting.value;
  row.querySelector(".slot").replaceWith(input);
  const back = row.querySelector(".back");
  back.title = words.reset.replace("{value}", setting.value || words.none);
  back.ariaLabel = setting.name + ": " + back.title;
  return row;
}

const sourceOf = (setting, words) =>
  setting.own
    ? words.preset_value.replace("{value}", setting.value || words.none)
    : words.default
        .replace("{value}", setting.default || unset(setting, words))
        .replace("{source}", setting.default_of);

const breakable = (name) => name.split("_").flatMap((part, index) => (index ? ["_", make("wbr"), part] : [part]));

const unitOf = (setting) => (setting.unit ? [" (", make("span", { className: "unit" }, setting.unit), ")"] : []);

function control(setting, words) {
  const choices = setting.kind === "bool" ? ["true", "false"] : setting.choices;
  if (!choices.length) {
    const inputMode = setting.kind === "text" ? "text" : "decimal";
    return make("input", { type: "text", inputMode, placeholder: setting.optional ? unset(setting, words) : "" });
  }
  const known = choices.includes(setting.value) ? choices : [setting.value, ...choices];
  const shown = setting.optional ? ["", ...choices] : known;
  return make("select", {}, ...shown.map((value) => make("option", { value }, value || unset(setting, words))));
}

// The settings that are not in front, by group, each with a title.
export function settingGroups(rows, titles) {
  const groups = Map.groupBy(rows, ({ group }) => group);
  return [...groups].map(([key, members]) =>
    make(
      "div",
      { className: "group" },
      make("h4", {}, titles[key] ?? key),
      make("div", { className: "pairs-of" }, ...members.map(({ row }) => row)),
    ),
  );
}

// Show the rows whose name or help has the word, and the groups that have such rows.
export function findSettings(element, word) {
  for (const group of element.querySelectorAll(".group")) {
    const rows = [...group.querySelectorAll(".setting")];
    for (const row of rows) row.hidden = !(row.dataset.name + row.textContent).toLowerCase().includes(word);
    group.hidden = rows.every((row) => row.hidden);
  }
}

// Mark the fields with a mistake: `mistakes` has a sentence by name.
export function markMistakes(element, mistakes) {
  for (const row of element.querySelectorAll(".setting")) {
    const sentence = mistakes[row.dataset.name] ?? "",
      place = row.querySelector(".mistake");
    place.textContent = sentence;
    place.hidden = !sentence;
    row.querySelector("[data-setting]").setAttribute("aria-invalid", String(!!sentence));
    if (sentence) row.closest("details")?.setAttribute("open", "");
  }
}

// Write what is known of the model and the data, {ok, line}, into the card.
export function showFacts(element, facts) {
  for (const place of element.querySelectorAll("[data-fact]")) {
    const fact = facts[place.dataset.fact];
    place.textContent = fact?.line ?? "";
    place.dataset.ok = String(fact?.ok ?? true);
  }
}

// Fill a list with {key, title, group}; those of one group are under its title. An unknown value is listed too.
export function fillSelect(select, choices, value) {
  const isKnown = value === "" || choices.some(({ key }) => key === value);
  const entry = ({ key, title }) => make("option", { value: key, textContent: title });
  const filled = [
    ...Map.groupBy(isKnown ? choices : [...choices, { key: value, title: value }], ({ group }) => group),
  ].flatMap(([label, members]) => (label ? [make("optgroup", { label }, ...members.map(entry))] : members.map(entry)));
  select.replaceChildren(...filled);
  select.value = value;
}
