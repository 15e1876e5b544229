// The buttons of the voting panel, each with the key that does the same.
import { make } from "../scripts/dom.js";

const PRESSED_MS = 180;
const CHOICES = { left: "1", right: "2", tie: "3", both_bad: "4" }; // the order of the buttons too

// The actions that the panel adds to those of the player, with their keys, which people can change.
export function voteActions(words, { vote, undo, comment, past, leave, canLeave }) {
  const votes = Object.entries(CHOICES).map(([choice, key]) => [
    "vote_" + choice,
    { key, label: words.choices[choice], run: () => vote(choice) },
  ]);
  return {
    ...Object.fromEntries(votes),
    vote_skip: { key: "x", label: words.choices.skip, run: () => vote("skip") },
    vote_undo: { key: "u", label: words.undo, run: undo },
    vote_note: { key: "n", label: words.note, run: comment },
    vote_past: { key: "e", label: words.past, run: past },
    vote_leave: { key: "Escape", label: words.leave_past, now: canLeave, run: leave },
  };
}

// `player` has the actions and their keys (see clip_player.js); `judge(axis)` turns one criterion to its next side.
export function voteButtons(desk, words, player, judge) {
  const $ = (selector) => desk.querySelector(selector);

  function keyButton(action, inside, attributes = {}) {
    const key = make("kbd", {}, player.keys.name(player.keys.of(action)));
    const button = make("button", { type: "button", className: "does" }, make("span", {}, inside), key);
    Object.assign(button.dataset, { does: action, ...attributes });
    return button;
  }

  function makeVotes() {
    $(".votes").replaceChildren(
      ...Object.keys(CHOICES).map((choice) => keyButton("vote_" + choice, words.choices[choice], { vote: choice })),
    );
    $(".actions-votes").replaceChildren(
      keyButton("vote_skip", words.choices.skip, { vote: "skip" }),
      keyButton("vote_undo", words.undo),
    );
  }

  // The keys that the campaign gives to its votes; a person's own go first.
  function setKeys(keys = "") {
    Object.entries(CHOICES).forEach(([choice, key], index) => {
      player.actions["vote_" + choice].key = keys[index] ?? key;
    });
    player.paintKeys();
  }

  function makeAxis({ name, label }) {
    const button = keyButton("axis_" + name, label, { axis: name });
    button.title = words.axis_hint;
    button.insertBefore(make("b", { className: "side" }), button.lastChild);
    return button;
  }

  function makeAxes(axes) {
    for (const name of Object.keys(player.actions)) if (name.startsWith("axis_")) delete player.actions[name];
    for (const { name, label, key } of axes) player.actions["axis_" + name] = { key, label, run: () => judge(name) };
    $(".axes").replaceChildren(...axes.map(makeAxis));
    $(".rubric").hidden = !axes.length;
    player.paintKeys();
  }

  function paintKeys() {
    for (const button of desk.querySelectorAll("[data-does]")) {
      const key = player.keys.name(player.keys.of(button.dataset.does));
      button.querySelector("kbd").textContent = key;
      button.setAttribute("aria-keyshortcuts", key);
    }
  }

  function paintAxes(sides) {
    for (const button of desk.querySelectorAll("[data-axis]")) {
      const side = sides[button.dataset.axis];
      button.dataset.side = side ?? "none";
      button.querySelector(".side").textContent = side ? words.side[side] : "";
      button.setAttribute("aria-label", button.firstChild.textContent + ": " + words.side[side ?? "none"]);
    }
  }

  function flash(choice) {
    const button = desk.querySelector('[data-vote="' + choice + '"]');
    button?.classList.add("is-pressed");
    setTimeout(() => button?.classList.remove("is-pressed"), PRESSED_MS);
  }

  desk.addEventListener("click", (event) => {
    const button = event.target.closest("[data-does]");
    if (!button) return;
    player.run(button.dataset.does);
    if (event.detail) button.blur(); // or the space bar would press it again
  });
  player.onPaintKeys = paintKeys;
  return { makeVotes, makeAxes, paintAxes, flash, setKeys };
}
