// Files that the page makes itself.
import { make } from "./dom.js";

export function save(name, blob) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Lines of cells as CSV. A cell that a spreadsheet would evaluate gets an apostrophe before it, as in
// engine/files/csv_cells.py.
const EVALUATED = /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

function quoted(value) {
  const shown = value === null || value === undefined ? "" : String(value);
  const safe = typeof value === "string" && EVALUATED.test(shown) ? "'" + shown : shown;
  return /[",\r\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
}

export const csv = (lines) =>
  new Blob([lines.map((line) => line.map(quoted).join(",") + "\r\n").join("")], { type: "text/csv" });
