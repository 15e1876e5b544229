// The Generate form as it was left, in the browser's storage: a reload comes back to it (app/forms/kept_form.py).
import { storage } from "./storage.js";

const KEPT = "dailies.generate";
let begun = false; // what the page fills in while it opens is no change of the user's

export const read = () => storage.get(KEPT) ?? "";

export function begin() {
  begun = true;
}

export function keep(names, values) {
  if (begun) storage.set(KEPT, JSON.stringify(Object.fromEntries(names.map((name, index) => [name, values[index]]))));
}
