// Rows of words, some with something to do. `props.value` = {columns, rows: [{key, cells, action, really, state}],
// note}. Event "act" {key}; where a row says what it would do (`really`), only after a second press.
import { make } from "../scripts/dom.js";

export default function mount({ element, trigger, props, watch }) {
  const { words } = props;
  const $ = (selector) => element.querySelector(selector);
  let asked = null; // the row that waits for its second press

  function button(text, className, press) {
    const made = make("button", { type: "button", textContent: text, className });
    made.addEventListener("click", press);
    return made;
  }

  function actions(row) {
    const cell = make("td", { className: "actions" });
    if (!row.action) return cell;
    const act = () => {
      asked = null;
      show(props.value);
      trigger("act", { key: row.key });
    };
    if (asked !== row.key) {
      const first = button(row.action, "", () => {
        if (row.really) {
          asked = row.key;
          show(props.value);
        } else act();
      });
      first.setAttribute("aria-label", row.action + ": " + row.cells[0]);
      cell.append(first);
    } else {
      cell.append(
        row.really + " ",
        button(words.really, "yes", act),
        button(words.no, "", () => {
          asked = null;
          show(props.value);
        }),
      );
    }
    return cell;
  }

  // What a press replaces hands its focus on: to the question's "yes", and else to what the row does now.
  function refocus(key) {
    const rows = [...element.querySelectorAll("tbody tr")],
      row = rows.find((one) => one.dataset.key === key);
    (row?.querySelector(".yes") ?? row?.querySelector("button") ?? $("tbody button") ?? $(".listing")).focus();
  }

  function show(value) {
    const had = element.contains(document.activeElement)
      ? document.activeElement.closest("tr")?.dataset.key
      : undefined;
    const { columns = [], rows = [], note = "" } = value ?? {};
    $(".note").textContent = note;
    $("thead tr").replaceChildren(...columns.map((column) => make("th", {}, column)));
    const acts = columns.length > (rows[0]?.cells.length ?? columns.length);
    $("tbody").replaceChildren(
      ...rows.map((row) => {
        const line = make("tr");
        Object.assign(line.dataset, { key: row.key, state: row.state });
        line.append(...row.cells.map((cell) => make("td", {}, cell)));
        if (acts) line.append(actions(row));
        return line;
      }),
    );
    if (had !== undefined) refocus(had);
  }

  // News may arrive while a question is open: it stays, with the present words.
  watch("value", () => {
    if (!props.value?.rows?.some((row) => row.key === asked && row.really)) asked = null;
    show(props.value);
  });
  show(props.value);
}
