// All models by group. `props.value` = {groups, machine, note, token: {source, line}, at}, see app/views/models.py. Asks
// the server for news only while a download is active and the list is visible.
import { make, showLine } from "../scripts/dom.js";
import { poll, reach } from "../scripts/server.js";

export default function mount({ element, props, server, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  const ASK_MS = 1000;
  let shown = { groups: [] },
    newest = 0,
    asked = null; // {key, kind: "get" or "remove", question, ready}: the row with an open question
  const busy = new Set(),
    form = $(".token"), // in the question that needs a token, else below the list
    field = $('[name="token"]');

  const models = () => shown.groups.flatMap(({ rows }) => rows);

  // ---- Asking
  const schedule = poll(
    element,
    () => order("news"),
    () => (models().some((model) => model.active) ? ASK_MS : null),
  );

  // The server's answer; null when there is none, or it is a problem, which is shown.
  async function call(name, argument) {
    const answer = await reach(server, name, argument);
    showLine($(".problem"), answer.problem);
    return answer.problem ? null : answer;
  }

  async function order(name, argument) {
    const answer = await call(name, argument);
    if (answer) take(answer);
    return answer;
  }

  function take(news) {
    if (!element.isConnected || !news?.groups || news.at < newest) return;
    newest = news.at;
    shown = news;
    const row = asked && models().find(({ key }) => key === asked.key);
    if (asked && !(row && (asked.kind === "get" ? row.get : row.can_remove))) asked = null;
    paint();
    schedule();
  }

  // ---- Painting
  function button(text, kind, row, className = "") {
    const made = make("button", { type: "button", textContent: text, className });
    made.dataset.do = kind;
    made.dataset.key = row.key;
    made.setAttribute("aria-label", `${text}: ${row.title}`);
    made.disabled = busy.has(row.key);
    return made;
  }

  function stateCell(row) {
    const cell = make("td", { className: "state" }, [row.line, row.eta].filter(Boolean).join(" · "));
    if (!row.active) return cell;
    const track = make("div", { className: "track", role: "progressbar" }, make("div", { className: "done" }));
    track.setAttribute("aria-label", `${row.title}: ${row.line}`);
    track.ariaValueMin = "0";
    track.ariaValueMax = "100";
    if (row.fraction !== null) track.ariaValueNow = String(Math.round(row.fraction * 100));
    track.firstChild.style.width = (row.fraction ?? 0) * 100 + "%";
    cell.append(track);
    return cell;
  }

  function memoryCell(row) {
    const cell = make("td", { className: "memory" }, make("span", {}, row.memory));
    cell.dataset.verdict = row.verdict;
    if (row.training) cell.append(make("small", {}, row.training));
    return cell;
  }

  function actionsCell(row) {
    const cell = make("td", { className: "actions" });
    if (row.active) cell.append(button(words.cancel, "cancel", row));
    if (row.get) cell.append(button(words[row.get], "ask_get", row));
    if (row.can_remove) cell.append(button(words.remove, "ask_remove", row));
    return cell;
  }

  function modelRow(row) {
    const line = make(
      "tr",
      {},
      make("td", { className: "name" }, row.title, make("small", {}, row.key)),
      stateCell(row),
      memoryCell(row),
      make("td", { className: "licence" }, row.licence),
      actionsCell(row),
    );
    Object.assign(line.dataset, { key: row.key, state: row.status });
    if (row.failed) line.dataset.failed = "";
    return line;
  }

  function questionRow(row) {
    const inside = make("div", {}, make("p", {}, asked.question ?? words.asking));
    if (asked.ready) {
      const [text, className] = asked.kind === "get" ? [words.get, "yes"] : [words.confirm, "danger"];
      inside.append(button(text, asked.kind, row, className));
    }
    if (asked.needs_token) inside.append(form);
    inside.append(button(words.back, "back", row));
    const line = make("tr", { className: "asked" }, make("td", { className: "question", colSpan: 5 }, inside));
    line.dataset.key = row.key;
    return line;
  }

  function paint() {
    const active = document.activeElement,
      focused = element.contains(active) ? { ...active.dataset } : null;
    if (!asked?.needs_token) $(".listing").append(form);
    $(".closed").textContent = shown.note ?? "";
    $(".closed").hidden = !shown.note;
    $(".machine").textContent = shown.machine ?? "";
    $(".stored").textContent = shown.token?.line ?? "";
    $('[data-do="forget"]').hidden = shown.token?.source !== "stored";
    $("thead tr").replaceChildren(...words.columns.map((column) => make("th", {}, column)));
    const like = $('[name="like"]');
    if (like.options.length !== (shown.bases?.length ?? 0) + 1)
      like.replaceChildren(
        like.options[0],
        ...(shown.bases ?? []).map(({ key, title }) => make("option", { value: key }, title)),
      );
    for (const body of element.querySelectorAll("tbody")) body.remove();
    for (const group of shown.groups) {
      const title = make("th", { colSpan: 5, scope: "rowgroup" }, group.title);
      const lines = group.rows.flatMap((row) =>
        asked?.key === row.key ? [modelRow(row), questionRow(row)] : [modelRow(row)],
      );
      const body = make("tbody", {}, make("tr", {}, title), ...lines);
      body.dataset.group = group.key;
      $("table").append(body);
    }
    if (active === field) field.focus({ preventScroll: true });
    else if (focused?.key) refocus(focused);
  }

  // What was repainted or replaced keeps the focus: the same button, else another one of its model.
  function refocus({ key, do: kind }) {
    const own = [...element.querySelectorAll("button")].filter(({ dataset }) => dataset.key === key);
    (own.find(({ dataset }) => dataset.do === kind) ?? own.at(-1) ?? $(".listing")).focus({ preventScroll: true });
  }

  const focusOn = (key, kind) => refocus({ key, do: kind });

  // ---- Actions
  async function ask(kind, key) {
    asked = { key, kind };
    paint();
    const answer = await call("ask_" + kind, key);
    if (asked?.key !== key || asked.kind !== kind) return; // another question was opened meanwhile
    asked = answer && { kind, ...answer };
    paint();
    if (answer) focusOn(key, answer.ready ? kind : "back");
    if (answer?.needs_token) field.focus();
  }

  async function settle(kind, key) {
    busy.add(key);
    paint();
    const done = await order(kind, kind === "cancel" ? models().find((model) => model.key === key).job : key);
    busy.delete(key);
    if (done && asked?.key === key) asked = null;
    paint();
    focusOn(key, kind === "get" ? "cancel" : "ask_get");
  }

  const actions = {
    ask_get: (key) => ask("get", key),
    ask_remove: (key) => ask("remove", key),
    back: (key) => {
      asked = null;
      paint();
      focusOn(key, "ask_get");
    },
    forget: () => order("forget_token"),
  };

  element.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-do]");
    if (!pressed) return;
    const { do: kind, key } = pressed.dataset;
    if (actions[kind]) actions[kind](key);
    else if (!busy.has(key)) settle(kind, key);
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!field.value.trim()) return field.focus();
    const answer = await order("save_token", field.value);
    if (!answer) return;
    field.value = "";
    form.querySelector(".stored").textContent = answer.said;
    if (asked?.needs_token) ask("get", asked.key);
  });

  $(".add").addEventListener("submit", async (event) => {
    event.preventDefault();
    const { kind, place, key, like } = event.target.elements;
    const order_ = { kind: kind.value, place: place.value, key: key.value, like: like.value };
    const answer = await order("add", order_);
    $(".added").textContent = answer?.said ?? "";
    if (answer) place.value = key.value = "";
  });

  watch("value", () => take(props.value));
  take(props.value);
}
