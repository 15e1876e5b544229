// The keys of all players' actions; a person's own are kept in this browser. Taking a used key swaps the two, whichever
// player the other one belongs to: an action has one key on the whole page, and "dailies:keys" follows each change.
import { make } from "./dom.js";
import { pressed } from "./keyboard.js";
import { readJson, storage } from "./storage.js";

const KEPT = "dailies.keys";
const UNFIT = ["Escape", "Tab", "Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Process"];
const SHOWN = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
const own = readJson(KEPT);
const players = [];
const known = () => Object.assign({}, ...players);
const changed = () => document.dispatchEvent(new CustomEvent("dailies:keys"));

function takeOwn() {
  for (const name of Object.keys(own)) delete own[name];
  Object.assign(own, readJson(KEPT));
}

// Another window's change.
addEventListener("storage", ({ key }) => {
  if (key !== KEPT) return;
  takeOwn();
  changed();
});

// An action that came after its key was given away (Label's, before it was ever open) has that of the one who took it.
function keyOf(name) {
  if (own[name]) return own[name];
  const all = known();
  const passed = new Set([name]);
  for (let key = all[name].key; ;) {
    const taker = Object.keys(all).find((other) => !passed.has(other) && own[other] === key);
    if (!taker) return key;
    passed.add(taker);
    key = all[taker].key;
  }
}

function setKey(name, key) {
  takeOwn();
  const taken = Object.keys(known()).find((other) => other !== name && keyOf(other) === key);
  if (taken) own[taken] = keyOf(name);
  own[name] = key;
  storage.set(KEPT, JSON.stringify(own));
  changed();
}

const keys = { of: keyOf, name: (key) => SHOWN[key] ?? key.toUpperCase(), set: setKey };

export function keyMap(actions) {
  players.push(actions);
  return keys;
}

// The actions of all players by name, and their keys.
export const everyKey = () => ({ actions: known(), keys });

export function keyRow(label, map, name, repaint) {
  const row = make("div", { className: "keyrow" });
  const key = map.name(map.of(name));
  const button = make("button", { type: "button", textContent: key, ariaLabel: label + ": " + key });
  const choose = (event) => {
    event.preventDefault();
    event.stopPropagation();
    const [chosen] = pressed(event);
    const list = row.parentElement;
    const place = [...list.children].indexOf(row);
    if (chosen && !UNFIT.includes(chosen)) map.set(name, chosen);
    repaint();
    list.children[place]?.querySelector("button").focus(); // the rows may be new ones
  };
  button.addEventListener("click", () => {
    button.classList.add("is-waiting");
    button.textContent = "…";
    button.addEventListener("keydown", choose, { once: true });
  });
  row.append(make("span", { textContent: label }), button);
  return row;
}
