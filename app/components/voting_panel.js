// Voting, around the player above (`element.player`). Pairs come from /voting/next, three more than the one that is
// shown; a vote goes into a list in this browser's storage first and leaves it when the server has stored or refused it:
// so none is lost, and its uuid sees to it that none counts twice. An earlier vote can be changed (vote_history.js).
// `props.value` = {campaign, at}.
const { player } = element;
const desk = $(".label-desk"), note = $(".note"), picker = $(".campaign");
const SETTLE_MS = 300; // too soon for a judgement: the second half of a double click
const RETRY_MS = 1000, LOOK_AGAIN_MS = 4000;
const UNSENT = "dailies.vote.", NAME = "dailies.labeller", CAMPAIGN = "dailies.campaign";
const CHOICES = { left: "1", right: "2", tie: "3", both_bad: "4" };
const pairKey = (pair) => String(pair.showing);

const view = {
  me: null, named: false, campaigns: [], campaign: null, pairs: [], voted: new Set(), shown: null, readyAt: Infinity,
  since: 0, axes: {}, done: 0, remaining: 0, making: false, open: true, away: new Set(), changing: null, draft: null, sending: null, asking: null, turn: 0, at: 0, last: null,
};

// ---- What comes next
const refill = () => (view.asking ??= refillOnce().finally(() => { view.asking = null; paint(); }));

async function refillOnce() {
  const turn = view.turn;
  if (!view.campaign || !view.me) return paint();
  let said;
  try {
    said = await untilAnswered("next", { campaign: view.campaign.id, labeller: view.me });
  } catch (error) {
    if (error instanceof Refused) say(error.message);
    return;
  }
  if (turn !== view.turn) return;
  const current = view.pairs[0], held = current ? [current] : [];
  const fresh = said.pairs.filter((pair) => !view.voted.has(pairKey(pair)) && !(current && pairKey(pair) === pairKey(current)));
  const unsent = outbox().filter(({ campaign, labeller }) => campaign === view.campaign.id && labeller === view.me).length;
  Object.assign(view, { pairs: [...held, ...fresh], done: said.done + unsent, remaining: Math.max(0, said.remaining - unsent), making: said.making, open: said.open, last: view.last ?? said.last });
  if (current || view.changing) announce();
  else showNext();
}

const asked = () => view.changing?.pair ?? view.pairs[0]; // the pair that a vote is for now
const ahead = () => view.pairs.filter((pair) => pair !== asked()).slice(0, 3);
const payload = () => ({ clips: asked()?.clips ?? [], prefetch: ahead().flatMap(({ clips }) => clips.map(({ url }) => url)) });
const announce = () => player.prefetch(payload());

async function showNext() {
  const pair = asked(), said = view.changing ?? view.draft ?? { axes: {}, note: "" };
  view.readyAt = Infinity;
  desk.classList.remove("is-ready");
  desk.dataset.pair = "";
  view.axes = { ...said.axes };
  note.value = said.note;
  if (!view.changing) view.draft = null;
  paint();
  if (!pair) return player.show({ clips: [], prefetch: [] });
  $(".prompt").textContent = pair.prompt;
  view.shown = pair;
  player.setView("side"); // every pair begins side by side, whichever way the last one was compared
  if (!(await player.show(payload())) || asked() !== pair) return;
  if (player.state.videos.length < pair.clips.length) return leaveOut(pair);
  view.since = performance.now();
  view.readyAt = view.since + SETTLE_MS;
  setTimeout(() => {
    if (asked() !== pair) return;
    desk.classList.add("is-ready");
    desk.dataset.pair = pairKey(pair);
  }, SETTLE_MS);
}

// A file is gone: asking for more makes the server notice and report it.
function leaveOut(pair) {
  if (view.changing) { stopChanging(); return say(words.lost); }
  say(words.lost_pair);
  view.voted.add(pairKey(pair));
  view.pairs = view.pairs.filter((one) => one !== pair);
  showNext();
  refill();
}

// ---- Voting
function vote(choice) {
  const pair = asked(), now = performance.now(), edits = Boolean(view.changing);
  if (!pair || now < view.readyAt) return;
  const cast = { showing: pair.showing, choice, axes: view.axes, note: note.value.trim(), ms: Math.round(now - view.since), client_uuid: uuid() };
  const kept = keep({ campaign: view.campaign.id, labeller: view.me, vote: cast, edits, at: (view.at = Math.max(Date.now(), view.at + 1)) });
  flash(choice);
  say(kept ? "" : words.not_kept);
  if (edits) {
    stopChanging();
    return send();
  }
  view.voted.add(pairKey(pair));
  view.pairs.shift();
  view.done += 1;
  view.remaining = Math.max(0, view.remaining - 1);
  showNext();
  send().then(refill);
}

async function undo() {
  if (view.changing) return stopChanging();
  if (!view.campaign || view.undoing) return;
  view.undoing = true;
  try {
    await send();
    if (!view.last) return say(words.nothing_to_undo);
    // It names the vote: sent again after an answer that was lost, it withdraws no other.
    const { pairs: [pair], axes, note: noted, last } = await untilAnswered("undo", { campaign: view.campaign.id, labeller: view.me, vote: view.last });
    view.last = last;
    if (pair) {
      view.voted.delete(pairKey(pair));
      view.pairs = [pair, ...view.pairs.filter((one) => pairKey(one) !== pairKey(pair))];
      view.done = Math.max(0, view.done - 1);
      view.remaining += 1;
      view.draft = { axes, note: noted }; // mostly it was the choice that slipped, not these
      $(".last").textContent = words.undone;
      showNext();
    }
  } catch (error) {
    say(error instanceof Refused ? error.message : error.sentence);
  } finally {
    view.undoing = false;
  }
}

function judge(axis) {
  const order = [undefined, "left", "right", "tie"];
  const next = order[(order.indexOf(view.axes[axis]) + 1) % order.length];
  view.axes = Object.fromEntries(Object.entries({ ...view.axes, [axis]: next }).filter(([, side]) => side));
  paintAxes();
}

// ---- Campaigns and names
function choose(campaign) {
  picker.title = campaign?.title ?? "";
  view.turn += 1;
  view.asking = null;
  Object.assign(view, { campaign, pairs: [], voted: new Set(outbox().map(({ vote }) => pairKey(vote))), open: true, making: false, changing: null, draft: null, last: null });
  hidePast();
  $(".last").textContent = "";
  if (campaign) {
    storage.set(CAMPAIGN, campaign.id);
    window.dailies.address({ campaign: campaign.id });
    trigger("choose_campaign", { id: campaign.id });
  }
  makeAxes();
  showNext();
  return send().then(refill);
}

const look = (wanted) => (view.looking = lookOnce(wanted));

async function lookOnce(wanted = null) {
  let said;
  try { said = await untilAnswered("me"); } catch { return; }
  view.named = said.labeller !== null;
  view.me = said.labeller ?? storage.get(NAME);
  view.campaigns = said.campaigns;
  const asked = [wanted, view.campaign?.id, new URL(location.href).searchParams.get("campaign"), storage.get(CAMPAIGN)];
  const id = asked.find((id) => id && said.campaigns.some((one) => one.id === id));
  const campaign = said.campaigns.find((one) => one.id === id) ?? said.campaigns[0] ?? null;
  picker.replaceChildren(...said.campaigns.map(({ id, title }) => Object.assign(document.createElement("option"), { value: id, textContent: title })));
  picker.value = campaign?.id ?? "";
  if (campaign?.id === view.campaign?.id) { paint(); return send().then(refill); }
  return choose(campaign);
}

async function rename(name) {
  storage.set(NAME, name);
  view.me = name || null;
  paint();
  await view.looking; // it may be about to choose another campaign
  return choose(view.campaign);
}

// ---- Keys: those of the player's map, which people can change
const voteActions = {
  ...Object.fromEntries(Object.entries(CHOICES).map(([choice, key]) => ["vote_" + choice, { key, label: words.choices[choice], run: () => vote(choice) }])),
  vote_skip: { key: "x", label: words.choices.skip, run: () => vote("skip") },
  vote_undo: { key: "u", label: words.undo, run: undo },
  vote_note: { key: "n", label: words.note, run: () => note.focus() },
  vote_past: { key: "e", label: words.past, run: togglePast },
  vote_leave: { key: "Escape", label: words.leave_past, now: () => Boolean(view.changing) || !$(".past").hidden, run: leavePast },
};
Object.assign(player.actions, voteActions);

function keyButton(action, inside, attributes = {}) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "does" });
  button.dataset.does = action;
  Object.assign(button.dataset, attributes);
  button.append(Object.assign(document.createElement("span"), { textContent: inside }));
  button.append(Object.assign(document.createElement("kbd"), { textContent: player.keys.name(player.keys.of(action)) }));
  return button;
}

function makeButtons() {
  const order = ["left", "tie", "both_bad", "right"];
  $(".votes").replaceChildren(...order.map((choice) => keyButton("vote_" + choice, words.choices[choice], { vote: choice })));
  $(".hands-votes").replaceChildren(keyButton("vote_skip", words.choices.skip, { vote: "skip" }), keyButton("vote_undo", words.undo));
}

function makeAxes() {
  for (const name of Object.keys(player.actions)) if (name.startsWith("axis_")) delete player.actions[name];
  const axes = view.campaign?.axes ?? [];
  for (const { name, label, key } of axes) player.actions["axis_" + name] = { key, label, run: () => judge(name) };
  $(".axes").replaceChildren(...axes.map(({ name, label }) => {
    const button = keyButton("axis_" + name, label, { axis: name });
    button.title = words.axis_hint;
    button.insertBefore(Object.assign(document.createElement("b"), { className: "side" }), button.lastChild);
    return button;
  }));
  $(".rubric").hidden = !axes.length;
  player.paintKeys();
}

function paintKeycaps() {
  for (const button of desk.querySelectorAll("[data-does]")) {
    const key = player.keys.name(player.keys.of(button.dataset.does));
    button.querySelector("kbd").textContent = key;
    button.setAttribute("aria-keyshortcuts", key);
  }
}

desk.addEventListener("click", (event) => {
  const button = event.target.closest("[data-does]");
  if (!button) return;
  player.run(button.dataset.does);
  if (event.detail) button.blur(); // or the space bar would press it again
});
note.addEventListener("keydown", (event) => {
  if (window.dailies.composes(event)) return; // this Enter accepts a candidate of the input method
  if (event.key === "Enter" || event.key === "Escape") { event.preventDefault(); note.blur(); }
});
picker.addEventListener("change", () => { picker.blur(); choose(view.campaigns.find(({ id }) => id === picker.value) ?? null); });
$(".who").addEventListener("submit", (event) => { event.preventDefault(); rename($(".name").value.trim()); $(".name").blur(); });
$(".rename").addEventListener("click", () => rename(""));
$(".leave").addEventListener("click", stopChanging);

// ---- Painting
function say(sentence) {
  $(".notice").textContent = sentence;
  $(".notice").hidden = !sentence;
}

function setAway(away, what = "answers", why = words.away) { // what does not come: answers, or clips
  if (view.away.has(what) === away) return;
  view.away[away ? "add" : "delete"](what);
  view.why = why;
  paintAway();
}

function paintAway() {
  const count = outbox().length, unsent = count === 1 ? words.unsent_one : words.unsent_more.replace("{count}", count);
  say(view.away.size ? (count ? words.unsent.replace("{count}", unsent) : view.why) : "");
}

function paintPlace() {
  $(".place").textContent = view.campaign && view.me ? words.place.replace("{done}", view.done).replace("{remaining}", view.remaining) : "";
  if (view.away.size) paintAway();
}

function paintAxes() {
  for (const button of desk.querySelectorAll("[data-axis]")) {
    const side = view.axes[button.dataset.axis];
    button.dataset.side = side ?? "none";
    button.querySelector(".side").textContent = side ? words.side[side] : "";
    button.setAttribute("aria-label", button.firstChild.textContent + ": " + words.side[side ?? "none"]);
  }
}

function flash(choice) {
  const button = desk.querySelector('[data-vote="' + choice + '"]');
  button?.classList.add("is-pressed");
  setTimeout(() => button?.classList.remove("is-pressed"), 180);
}

function emptiness() {
  if (!view.campaign) return props.offers_new ? words.no_campaign : words.no_campaign_here;
  if (!view.me || asked() || view.asking || view.sending) return null;
  if (!view.open) return words.closed;
  return view.making ? words.waiting : words.no_pairs;
}

function paint() {
  const nameless = Boolean(view.campaign) && !view.me, nothing = nameless ? null : emptiness();
  $(".who").hidden = !nameless;
  $(".head").hidden = !view.campaign;
  $(".my-name").textContent = view.me ?? "";
  $(".rename").hidden = view.named || !view.me;
  $(".logout").hidden = !view.named;
  $(".open-past").hidden = !view.me;
  $(".undo-last").hidden = Boolean(asked()) || !view.done;
  $(".voting").hidden = !asked();
  $(".nothing").hidden = !nothing;
  if (nothing) [$(".nothing h3").textContent, $(".nothing p").textContent] = nothing;
  paintPlace();
  paintAxes();
  paintChanging();
}

// ---- Nothing to show: look again now and then, while visible.
const timer = setInterval(() => {
  if (!element.isConnected) return clearInterval(timer);
  if (window.dailies.visible(element) && !document.hidden && !asked() && !view.asking && !view.sending) look();
}, LOOK_AGAIN_MS);

player.onPaintKeys = paintKeycaps;
player.onAway = (away) => setAway(away, "clips");
makeButtons();
watch("value", () => look(props.value?.campaign));
look(props.value?.campaign);
