// The labeller's own votes (see voting_panel.js): one of them is opened, and the next vote takes its place.
import { make } from "../scripts/dom.js";
import { composes } from "../scripts/keyboard.js";
import { ask, sentenceOf } from "./vote_requests.js";

// `view` is the panel's state; `send()` empties the outbox, `showNext()` shows the pair that a vote is for, `say()` shows
// a sentence.
export function voteHistory(element, words, view, { send, showNext, say }) {
  const $ = (selector) => element.querySelector(selector);

  async function toggle() {
    if (!$(".past").hidden) return hide();
    if (!view.campaign || !view.me) return;
    let said;
    await send();
    try {
      said = await ask("mine", { campaign: view.campaign.id, labeller: view.me });
    } catch (error) {
      return say(sentenceOf(error, words));
    }
    $(".past p").textContent = said.votes.length ? words.past_hint : words.past_none;
    $(".past-list").replaceChildren(...said.votes.map(pastRow));
    $(".past").hidden = false;
    ($(".past-list button") ?? $(".open-past")).focus();
    $(".past").scrollIntoView({ block: "nearest" });
  }

  function pastRow(one) {
    const at = new Date(one.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const button = make(
      "button",
      { type: "button" },
      make("span", { className: "when" }, at),
      make("span", { className: "said" }, words.choices[one.choice]),
      make("span", { className: "about" }, one.pair.prompt),
    );
    button.addEventListener("click", () => change(one));
    return make("li", {}, button);
  }

  function hide() {
    $(".past").hidden = true;
  }

  // What was begun for the pair that was on the screen comes back with it.
  function change(one) {
    hide();
    if (!view.changing) view.draft = { axes: view.axes, note: $(".note").value };
    view.changing = one;
    say("");
    document.activeElement?.blur();
    showNext();
  }

  function stopChanging() {
    view.changing = null;
    showNext();
  }

  function leave() {
    if (view.changing) stopChanging();
    else hide();
  }

  function paint() {
    const { changing } = view;
    $(".changing").hidden = !changing;
    $(".changing span").textContent = changing
      ? words.changing.replace("{choice}", words.choices[changing.choice])
      : "";
    for (const button of element.querySelectorAll("[data-vote]"))
      button.classList.toggle("was-chosen", changing?.choice === button.dataset.vote);
  }

  $(".open-past").addEventListener("click", toggle);
  $(".past").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || composes(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const rows = [...$(".past-list").querySelectorAll("button")],
      at = rows.indexOf(document.activeElement);
    rows[Math.max(0, Math.min(rows.length - 1, at + step))]?.focus();
  });
  return { toggle, hide, leave, stopChanging, paint };
}
