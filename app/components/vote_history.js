// The labeller's own votes (see voting_panel.js): one of them is opened, and the next vote takes its place.
async function togglePast() {
  if (!$(".past").hidden) return hidePast();
  if (!view.campaign || !view.me) return;
  let said;
  await send();
  try {
    said = await ask("mine", { campaign: view.campaign.id, labeller: view.me });
  } catch (error) {
    return say(error instanceof Refused ? error.message : error.sentence);
  }
  $(".past p").textContent = said.votes.length ? words.past_hint : words.past_none;
  $(".past-list").replaceChildren(...said.votes.map(pastRow));
  $(".past").hidden = false;
  ($(".past-list button") ?? $(".open-past")).focus();
  $(".past").scrollIntoView({ block: "nearest" });
}

function pastRow(one) {
  const item = document.createElement("li"),
    button = item.appendChild(Object.assign(document.createElement("button"), { type: "button" }));
  const part = (className, textContent) =>
    button.append(Object.assign(document.createElement("span"), { className, textContent }));
  part("when", new Date(one.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  part("said", words.choices[one.choice]);
  part("about", one.pair.prompt);
  button.addEventListener("click", () => change(one));
  return item;
}

function hidePast() {
  $(".past").hidden = true;
}

// What was begun for the pair that was on the screen comes back with it.
function change(one) {
  hidePast();
  if (!view.changing) view.draft = { axes: view.axes, note: note.value };
  view.changing = one;
  say("");
  document.activeElement?.blur();
  showNext();
}

function stopChanging() {
  view.changing = null;
  showNext();
}

function leavePast() {
  if (view.changing) stopChanging();
  else hidePast();
}

function paintChanging() {
  const { changing } = view;
  $(".changing").hidden = !changing;
  $(".changing span").textContent = changing ? words.changing.replace("{choice}", words.choices[changing.choice]) : "";
  for (const button of desk.querySelectorAll("[data-vote]"))
    button.classList.toggle("was-chosen", changing?.choice === button.dataset.vote);
}

$(".open-past").addEventListener("click", togglePast);
$(".past").addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || window.dailies.composes(event)) return;
  event.preventDefault();
  event.stopPropagation();
  const rows = [...$(".past-list").querySelectorAll("button")],
    at = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + step))]?.focus();
});
