// Adapters and their strengths. `props.value` = {names, titles: {name: text}, triggers: {name: text}, rows: [{name,
// scale}]}; what is chosen here is written to its rows. Without one, a single row has the base model. A mistake is
// marked at its field, and told below, as is a text that the prompt lacks for the effect of an adapter, with a button
// that inserts it.
import { listen, make, stamp } from "../scripts/dom.js";

export default function mount({ element, props, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const LIMIT = 10; // of a strength, as the request has it
  let rows = [];

  function show(value) {
    const next = value?.rows ?? [];
    const same = JSON.stringify([next, value?.names, value?.titles]) === $(".rows").dataset.shown;
    rows = next.map((row) => ({ ...row }));
    if (same) paintTriggers();
    else build();
  }

  function build() {
    const shown = rows.length ? rows : [{ name: "", scale: 1 }];
    $(".rows").dataset.shown = JSON.stringify([rows, names(), props.value?.titles]);
    $(".rows").replaceChildren(...shown.map(makeRow));
    paint();
  }

  const names = () => props.value?.names ?? [];

  function makeRow({ name, scale }) {
    const made = stamp($("template")),
      select = made.querySelector("select");
    const titles = props.value?.titles ?? {};
    const gone = name && !names().includes(name) ? [name] : [];
    select.append(
      ...["", ...names(), ...gone].map((one) =>
        make("option", { value: one, textContent: titles[one] || one || words.base }),
      ),
    );
    select.value = name;
    select.disabled = !names().length && !name;
    Object.assign(made.querySelector("input"), { value: scale ?? "", hidden: !name });
    made.querySelector("button").hidden = !name;
    return made;
  }

  function problemOf({ name, scale }, index) {
    if (!names().includes(name)) return ["select", words.gone.replace("{name}", name)];
    if (rows.findIndex((row) => row.name === name) < index) return ["select", words.twice.replace("{name}", name)];
    if (scale === null || Math.abs(scale) > LIMIT) return ["input", words.range];
    return null;
  }

  function paint() {
    const problems = rows.map(problemOf);
    [...$(".rows").children].forEach((row, index) => {
      for (const field of ["select", "input"])
        row.querySelector(field).setAttribute("aria-invalid", problems[index]?.[0] === field);
    });
    const first = problems.find(Boolean);
    $(".problem").hidden = !first;
    $(".problem").textContent = first?.[1] ?? "";
    $(".none").hidden = names().length > 0;
    paintTriggers();
    $('[data-do="add"]').hidden = !rows.length || rows.length >= names().length;
  }

  const field = () => document.querySelector("#prompt textarea");
  const prompt = () => field()?.value ?? "";

  // The texts of the chosen adapters that the prompt does not contain.
  function paintTriggers() {
    const known = props.value?.triggers ?? {};
    const lacking = rows.filter(({ name }) => known[name] && !prompt().includes(known[name]));
    const lines = lacking.map(({ name }) => {
      const textContent = words.trigger.replace("{text}", () => known[name]).replace("{name}", () => name);
      const button = make("button", { type: "button", textContent: words.insert, hidden: !field()?.offsetParent });
      Object.assign(button.dataset, { do: "insert", text: known[name] });
      return make("li", {}, make("span", { textContent }), button);
    });
    $(".triggers").replaceChildren(...lines);
    $(".triggers").hidden = !lines.length;
  }

  function insert(text) {
    const to = field();
    to.value = [to.value.trim(), text].filter(Boolean).join(", ");
    to.dispatchEvent(new Event("input", { bubbles: true }));
    to.focus();
  }

  function tell() {
    $(".rows").dataset.shown = JSON.stringify([rows, names(), props.value?.titles]);
    props.value = { ...props.value, rows: rows.map((row) => ({ ...row })) };
    paint();
  }

  function rebuild() {
    build();
    tell();
  }

  element.addEventListener("input", ({ target }) => {
    const index = [...$(".rows").children].indexOf(target.closest(".row"));
    if (target.matches("input")) {
      rows[index].scale = target.value === "" ? null : Number(target.value);
      return tell();
    }
    if (!target.value) rows.splice(index, 1);
    else rows[index] = { name: target.value, scale: rows[index]?.scale ?? 1 };
    rebuild();
    $(".rows").children[Math.min(index, $(".rows").children.length - 1)].querySelector("select").focus();
  });
  element.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-do]");
    if (!button) return;
    if (button.dataset.do === "insert") return insert(button.dataset.text);
    if (button.dataset.do === "add")
      rows.push({ name: names().find((name) => !rows.some((row) => row.name === name)), scale: 1 });
    else rows.splice([...$(".rows").children].indexOf(button.closest(".row")), 1);
    rebuild();
    $(".rows").lastElementChild.querySelector("select").focus();
  });
  listen(element, "input", ({ target }) => target === field() && paintTriggers());
  watch("value", () => show(props.value));
  show(props.value);
}
