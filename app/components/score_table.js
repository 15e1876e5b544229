// Clips by score. `props.value` = {columns: [{key, title, question}], rows: [{id, prompt, poster, link, seed, model,
// file, total, apart: {total, why} | null, values: {key: 0..1 | null}}] the best first, failed: [{name, why}],
// empty: {title, hint} | null, imported: {which, mix, sentence} | null}; a row's `reasons` say why a reward has no value.
// Events: open_clip {id}, close_clip, compare {ids}, label_these {ids}, show_set {which, mix}.
import { followShown, setShown, shownAt } from "../scripts/address.js";
import { fill, make, stamp } from "../scripts/dom.js";
import { csv, save } from "../scripts/files.js";

export default function mount({ element, trigger, props, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const chosen = new Set(),
    COMPARED = 4;
  let sort = { key: "total", down: true },
    isGrouped = false, // by prompt, in the order of the first clip of each
    current = null;

  // ---- Sorting: what has no value stands last, whichever way
  const rows = () => props.value?.rows ?? [];
  const rankOf = (row) => rows().indexOf(row) + 1;
  const measure = { total: (row) => row.total, clip: (row) => row.prompt.toLowerCase(), rank: (row) => -rankOf(row) };
  const valueOf = (row, key) => (measure[key] ? measure[key](row) : (row.values[key] ?? null));

  function sorted() {
    const down = sort.down ? -1 : 1;
    const list = [...rows()].sort((a, b) => {
      const x = valueOf(a, sort.key),
        y = valueOf(b, sort.key);
      if (x === null || y === null) return (x === null) - (y === null);
      return x < y ? -down : x > y ? down : 0;
    });
    if (!isGrouped) return list;
    const groups = new Map();
    for (const row of list) groups.set(row.prompt, [...(groups.get(row.prompt) ?? []), row]);
    return [...groups.values()].flat();
  }

  // ---- Showing
  function show(value) {
    const there = new Set(rows().map((row) => row.id));
    for (const id of chosen) if (!there.has(id)) chosen.delete(id);
    $(".scroll").hidden = !rows().length;
    $(".empty").hidden = !value?.empty;
    fill($(".empty"), value?.empty ?? {});
    $(".imported-bar").hidden = !value?.imported;
    $(".imported-bar span").textContent = value?.imported?.sentence ?? "";
    const failed = value?.failed ?? [];
    $(".failed").hidden = !failed.length;
    $(".failed ul").replaceChildren(...failed.map(({ name, why }) => make("li", {}, make("b", {}, name), ": " + why)));
    showHead(value?.columns ?? []);
    showRows();
  }

  function showHead(columns) {
    const heads = [
      ["rank", words.rank],
      ["clip", words.clip],
      ["total", words.total],
      ...columns.map(({ key, title, question }) => [key, title, question]),
    ];
    $("thead tr").replaceChildren(document.createElement("th"), ...heads.map(head));
  }

  function head([key, title, question]) {
    const cell = Object.assign(document.createElement("th"), { scope: "col", className: "of-" + key });
    const button = cell.appendChild(
      Object.assign(document.createElement("button"), { type: "button", textContent: title }),
    );
    button.title = [words.sort.replace("{name}", title), question].filter(Boolean).join(". ");
    button.dataset.sort = key;
    if (key === sort.key) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    return cell;
  }

  function showRows() {
    $("tbody").replaceChildren(...sorted().map(makeRow));
    for (const row of $("tbody").children)
      row.classList.toggle("is-first", isGrouped && row.dataset.prompt !== row.previousElementSibling?.dataset.prompt);
    paint();
  }

  function makeRow(row) {
    const made = stamp($("template")),
      link = made.querySelector("a");
    Object.assign(made.dataset, { id: row.id, prompt: row.prompt });
    made.querySelector(".place").textContent = row.total === null ? "" : rankOf(row);
    made.querySelector("input").setAttribute("aria-label", words.select + ": " + row.prompt);
    link.href = row.link;
    link.querySelector("img").src = row.poster;
    link.querySelector(".prompt").textContent = row.prompt || row.id;
    const from = [row.file === row.prompt ? "" : row.file, row.model].filter(Boolean).join("  ·  ");
    link.querySelector(".file").textContent = from;
    link.title = [row.prompt, from].filter(Boolean).join("\n");
    const total = cell(row.total, "total");
    if (row.apart) Object.assign(total, { textContent: row.apart.total, title: row.apart.why });
    made.append(total, ...(props.value.columns ?? []).map(({ key }) => part(row, key)));
    return made;
  }

  // What a reward gave, or why it gave nothing.
  function part(row, key) {
    const made = cell(row.values[key] ?? null, "part");
    if ((row.values[key] ?? null) === null) made.title = row.reasons[key] ?? words.unscored;
    return made;
  }

  function cell(value, name) {
    const made = Object.assign(document.createElement("td"), {
      className: name,
      textContent: value === null ? words.none : value.toFixed(2),
    });
    if (value === null) return made;
    const level = made.appendChild(Object.assign(document.createElement("span"), { className: "level" }));
    level.appendChild(document.createElement("i")).style.width = value * 100 + "%";
    return made;
  }

  function paint() {
    for (const row of $("tbody").children) {
      row.classList.toggle("is-current", row.dataset.id === current);
      row.querySelector("input").checked = chosen.has(row.dataset.id);
    }
    const words_ = chosen.size
      ? words.chosen.replace("{count}", chosen.size)
      : (rows().length === 1 ? words.count_one : words.count).replace("{count}", rows().length.toLocaleString("en"));
    $(".count").textContent = rows().length ? words_ : "";
    for (const name of ["compare", "clear"]) $('[data-do="' + name + '"]').hidden = chosen.size === 0;
    $('[data-do="compare"]').disabled = chosen.size < 2 || chosen.size > COMPARED;
    $('[data-do="label"]').disabled = (chosen.size || rows().length) < 2;
    $('[data-do="group"]').setAttribute("aria-pressed", isGrouped);
    $('[data-do="group"]').disabled = new Set(rows().map((row) => row.prompt)).size < 2;
    $('[data-do="csv"]').disabled = !rows().length;
  }

  // ---- CSV: what the table shows, in its order
  function download() {
    const keys = (props.value.columns ?? []).map(({ key }) => key);
    const lines = sorted().map((row) => [
      row.id,
      row.file,
      row.prompt,
      row.model,
      row.seed,
      row.total,
      ...keys.map((key) => row.values[key]),
    ]);
    save("scores.csv", csv([["clip", "file", "prompt", "model", "seed", "total", ...keys], ...lines]));
  }

  // ---- Actions
  const actions = {
    compare: () => {
      setShown("score", null, true);
      trigger("compare", { ids: [...chosen] });
    },
    label: () => trigger("label_these", { ids: chosen.size ? [...chosen] : rows().map((row) => row.id) }),
    clear: () => {
      chosen.clear();
      paint();
    },
    csv: download,
    group() {
      isGrouped = !isGrouped;
      showRows();
    },
    show_set: () => trigger("show_set", props.value.imported),
  };

  element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]"),
      by = event.target.closest("[data-sort]"),
      link = event.target.closest("td.clip a");
    if (button) actions[button.dataset.do]();
    if (by) sortBy(by.dataset.sort);
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab gets the permalink
    event.preventDefault();
    open(link.closest("tr").dataset.id);
  });

  function open(id, step = true) {
    current = id;
    setShown("score", id, step);
    paint();
    trigger("open_clip", { id });
  }

  function sortBy(key) {
    sort = { key, down: key === sort.key ? !sort.down : key !== "clip" };
    showHead(props.value.columns ?? []);
    showRows();
    element.querySelector('[data-sort="' + key + '"]').focus();
  }

  $("tbody").addEventListener("change", (event) => {
    const id = event.target.closest("tr").dataset.id;
    if (event.target.checked) chosen.add(id);
    else chosen.delete(id);
    paint();
  });
  followShown(element, "score", (id) => (id ? open(id, false) : trigger("close_clip")));
  if (shownAt("score")) open(shownAt("score"), false);
  watch("value", () => show(props.value));
  show(props.value);
}
