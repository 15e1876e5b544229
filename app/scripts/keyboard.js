// Keys: one player at a time gets them, never while the user types, and never when it is out of sight.
import { listen, visible } from "./dom.js";

let keyed = null; // the element that was touched last

export const typing = (target, element) =>
  Boolean(target.closest?.("textarea, select, [contenteditable], input:not([type=range])")) ||
  (target.matches?.("input") && !element.contains(target));
const presses = (target) => Boolean(target.closest?.("button, a, summary, [role=tab], [role=checkbox]"));

export function onKey(element, handle) {
  const take = () => {
    keyed = element;
  };
  element.addEventListener("pointerdown", take, true);
  element.addEventListener("focusin", take);
  element.addEventListener("shown", take);
  listen(element, "keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!visible(element) || typing(event.target, element)) return;
    if (keyed && keyed !== element && visible(keyed)) return;
    if ((event.key === " " || event.key === "Enter") && presses(event.target)) return;
    if (pressed(event).some((key) => handle(key, event.repeat))) event.preventDefault();
  });
}

// The keys that an event may mean, the likeliest first: none while an input method composes a text (the Enter that
// accepts a candidate is no Enter); what is printed on the key; and where that is no Latin letter or digit, the key in
// the same place of a US keyboard, so that letters work under Cyrillic and digits under AZERTY.
const PLACES = {
  BracketLeft: "[",
  BracketRight: "]",
  Comma: ",",
  Period: ".",
  Slash: "/",
  Semicolon: ";",
  Quote: "'",
  Minus: "-",
  Equal: "=",
};

export const composes = (event) => event.isComposing || event.keyCode === 229;

export function pressed(event) {
  if (composes(event)) return [];
  const key = plain(event.key);
  if (/^[a-z0-9]$/.test(key) || (key.length > 1 && key !== "Dead")) return [key];
  const letter = /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase();
  const foreign = key === "Dead" || key.codePointAt(0) > 127;
  const place = letter
    ? foreign && letter
    : !event.shiftKey && (/^Digit(\d)$/.exec(event.code)?.[1] ?? PLACES[event.code]);
  return place ? [key, place] : [key];
}

// A letter is the same key under Caps Lock.
const plain = (key) => (key.length === 1 ? key.toLowerCase() : key);

// Ctrl+Enter anywhere in a form presses its main button.
document.addEventListener("keydown", (event) => {
  if (composes(event) || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const button = event.target.closest?.(".ctrl-enter")?.querySelector("button.primary");
  if (!button) return;
  event.preventDefault();
  button.click();
});
