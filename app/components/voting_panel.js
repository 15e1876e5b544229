// Voting, around the player above (`element.player`). Pairs come from /voting/next, three more than the one that is
// shown; a vote goes into a list in this browser's storage first and leaves it when the server has stored or refused it:
// so none is lost, and its uuid sees to it that none counts twice. `props.value` = {campaign, at}.
import { followAddress, setAddress } from "../scripts/address.js";
import { make, visible } from "../scripts/dom.js";
import { composes } from "../scripts/keyboard.js";
import { storage } from "../scripts/storage.js";
import mountPlayer from "./clip_player.js";
import { voteActions, voteButtons } from "./vote_buttons.js";
import { voteHistory } from "./vote_history.js";
import { voteProgress } from "./vote_progress.js";
import { uuid, voteOutbox } from "./vote_outbox.js";
import { persistent, Refused, sentenceOf } from "./vote_requests.js";

export default function mount({ element, trigger, props, watch }) {
  mountPlayer({ element, props, watch });
  const { words } = props;
  const { player } = element;
  const $ = (selector) => element.querySelector(selector);
  const desk = $(".label-desk"),
    note = $(".note"),
    picker = $(".campaign");
  const SETTLE_MS = 300; // too soon for a judgement: the second half of a double click
  const LOOK_AGAIN_MS = 4000;
  const NAME = "dailies.labeller",
    CAMPAIGN = "dailies.campaign";
  const pairKey = (pair) => String(pair.showing);

  const view = {
    me: null, // the labeller's name; `named` by the login instead of by this browser
    named: false,
    campaigns: [],
    campaign: null,
    pairs: [], // assigned and not voted on: the shown one first
    voted: new Set(), // keys of pairs with a vote that the server may not know yet
    shown: null,
    readyAt: Infinity, // page times in ms: from when a vote counts, and since when the pair is shown
    since: 0,
    axes: {},
    done: 0,
    remaining: 0,
    making: false, // clips of the campaign are still generated
    open: true,
    away: new Set(), // what the server does not answer
    changing: null, // an earlier vote that is edited
    draft: null, // axes and note of a vote that was undone
    sending: null, // promises of the requests under way
    refilling: null,
    generation: 0, // counts choices of a campaign: answers for an earlier one are dropped
    votedAt: 0, // Unix time in ms of the last vote
    last: null, // uuid of the last vote, which undo withdraws
  };

  // ---- What comes next
  const refill = () =>
    (view.refilling ??= refillOnce().finally(() => {
      view.refilling = null;
      paint();
    }));

  async function refillOnce() {
    const generation = view.generation;
    if (!view.campaign || !view.me) return paint();
    let said;
    try {
      said = await untilAnswered("next", { campaign: view.campaign.id, labeller: view.me });
    } catch (error) {
      if (error instanceof Refused) say(error.message);
      return;
    }
    if (generation !== view.generation) return;
    const current = view.pairs[0],
      held = current ? [current] : [];
    const fresh = said.pairs.filter(
      (pair) => !view.voted.has(pairKey(pair)) && !(current && pairKey(pair) === pairKey(current)),
    );
    const unsent = outbox
      .list()
      .filter(({ campaign, labeller }) => campaign === view.campaign.id && labeller === view.me).length;
    const { many, making, generating, clips, open } = said;
    Object.assign(view, { many, making, generating, clips, open });
    Object.assign(view, {
      pairs: [...held, ...fresh],
      done: said.done + unsent,
      remaining: Math.max(0, said.remaining - unsent),
      last: view.last ?? said.last,
    });
    if (current || view.changing) announce();
    else showNext();
  }

  const currentPair = () => view.changing?.pair ?? view.pairs[0]; // the pair that a vote is for now
  const ahead = () => view.pairs.filter((pair) => pair !== currentPair()).slice(0, 3);
  const payload = () => ({
    clips: currentPair()?.clips ?? [],
    prefetch: ahead().flatMap(({ clips }) => clips.map(({ url }) => url)),
  });
  const announce = () => player.prefetch(payload());

  async function showNext() {
    const pair = currentPair(),
      said = view.changing ?? view.draft ?? { axes: {}, note: "" };
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
    if (!(await player.show(payload())) || currentPair() !== pair) return;
    if (player.state.videos.length < pair.clips.length) return leaveOut(pair);
    view.since = performance.now();
    view.readyAt = view.since + SETTLE_MS;
    setTimeout(() => {
      if (currentPair() !== pair) return;
      desk.classList.add("is-ready");
      desk.dataset.pair = pairKey(pair);
    }, SETTLE_MS);
  }

  // A file is gone: asking for more makes the server notice and report it.
  function leaveOut(pair) {
    if (view.changing) {
      earlier.stopChanging();
      return say(words.lost);
    }
    say(words.lost_pair);
    view.voted.add(pairKey(pair));
    view.pairs = view.pairs.filter((one) => one !== pair);
    showNext();
    refill();
  }

  // ---- Sending
  const untilAnswered = persistent(element, (error) =>
    setAway(error !== null, "answers", error && sentenceOf(error, words)),
  );
  const outbox = voteOutbox(element, (entry) => !view.named || entry.labeller === view.me);

  function send() {
    view.sending ??= sendAll().finally(() => {
      view.sending = null;
    });
    return view.sending;
  }

  async function sendAll() {
    for (let [next] = outbox.list(); next; [next] = outbox.list()) {
      try {
        const isOurs = ({ stored }) => stored === next.vote.client_uuid;
        const answer = await untilAnswered(next.edits ? "edit" : "vote", next, isOurs);
        $(".last").textContent = words.last + ": " + answer.said;
        view.last = next.vote.client_uuid;
      } catch (error) {
        if (!(error instanceof Refused)) return;
        say(error.message);
      }
      outbox.forget(next);
      paintPlace();
    }
  }

  const earlier = voteHistory(element, words, view, { send, showNext, say });
  const paintProgress = voteProgress(desk, words);
  const buttons = voteButtons(desk, words, player, judge);

  // ---- Voting
  function vote(choice) {
    const pair = currentPair(),
      now = performance.now(),
      edits = Boolean(view.changing);
    if (!pair || now < view.readyAt) return;
    const cast = {
      showing: pair.showing,
      choice,
      axes: view.axes,
      note: note.value.trim(),
      ms: Math.round(now - view.since),
      client_uuid: uuid(),
    };
    const kept = outbox.keep({
      campaign: view.campaign.id,
      labeller: view.me,
      vote: cast,
      edits,
      at: (view.votedAt = Math.max(Date.now(), view.votedAt + 1)),
    });
    buttons.flash(choice);
    say(kept ? "" : words.not_kept);
    if (edits) {
      earlier.stopChanging();
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
    if (view.changing) return earlier.stopChanging();
    if (!view.campaign || view.undoing) return;
    view.undoing = true;
    try {
      await send();
      if (!view.last) return say(words.nothing_to_undo);
      // It names the vote: sent again after an answer that was lost, it withdraws no other.
      const {
        pairs: [pair],
        axes,
        note: noted,
        last,
      } = await untilAnswered("undo", { campaign: view.campaign.id, labeller: view.me, vote: view.last });
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
      say(sentenceOf(error, words));
    } finally {
      view.undoing = false;
    }
  }

  function judge(axis) {
    const order = [undefined, "left", "right", "tie"];
    const next = order[(order.indexOf(view.axes[axis]) + 1) % order.length];
    view.axes = Object.fromEntries(Object.entries({ ...view.axes, [axis]: next }).filter(([, side]) => side));
    buttons.paintAxes(view.axes);
  }

  // ---- Campaigns and names
  function describe(campaign) {
    picker.title = campaign?.title ?? "";
    $(".instructions").textContent = campaign?.instructions ?? "";
    buttons.setKeys(campaign?.keys);
  }

  function choose(campaign, step = false) {
    describe(campaign);
    view.generation += 1;
    view.refilling = null;
    const voted = new Set(outbox.list().map(({ vote }) => pairKey(vote)));
    Object.assign(view, { campaign, voted, pairs: [], open: true, making: false, generating: 0 });
    Object.assign(view, { changing: null, draft: null, last: null });
    earlier.hide();
    $(".last").textContent = "";
    if (campaign) {
      storage.set(CAMPAIGN, campaign.id);
      setAddress({ campaign: campaign.id }, step);
      trigger("choose_campaign", { id: campaign.id });
    }
    buttons.makeAxes(campaign?.axes ?? []);
    showNext();
    return send().then(refill);
  }

  const look = (wanted) => (view.looking = lookOnce(wanted));

  async function lookOnce(wanted = null) {
    let said;
    try {
      said = await untilAnswered("me");
    } catch {
      return;
    }
    view.named = said.labeller !== null;
    view.me = said.labeller ?? storage.get(NAME);
    view.campaigns = said.campaigns;
    const candidates = [
      wanted,
      view.campaign?.id,
      new URL(location.href).searchParams.get("campaign"),
      storage.get(CAMPAIGN),
    ];
    const id = candidates.find((id) => id && said.campaigns.some((one) => one.id === id));
    const campaign = said.campaigns.find((one) => one.id === id) ?? said.campaigns[0] ?? null;
    picker.replaceChildren(...said.campaigns.map(({ id, title }) => make("option", { value: id }, title)));
    picker.value = campaign?.id ?? "";
    if (campaign?.id === view.campaign?.id) {
      describe((view.campaign = campaign)); // perhaps it was edited
      paint();
      return send().then(refill);
    }
    return choose(campaign);
  }

  async function rename(name) {
    storage.set(NAME, name);
    view.me = name || null;
    paint();
    await view.looking; // it may be about to choose another campaign
    return choose(view.campaign);
  }

  const actions = {
    vote,
    undo,
    comment: () => note.focus(),
    past: earlier.toggle,
    leave: earlier.leave,
    canLeave: () => Boolean(view.changing) || !$(".past").hidden,
  };
  Object.assign(player.actions, voteActions(words, actions));
  note.addEventListener("keydown", (event) => {
    if (composes(event)) return; // this Enter accepts a candidate of the input method
    if (event.key === "Enter" || event.key === "Escape") {
      event.preventDefault();
      note.blur();
    }
  });
  const picked = () => view.campaigns.find(({ id }) => id === picker.value) ?? null;
  picker.addEventListener("change", () => picker.blur() ?? choose(picked(), true));
  followAddress(element, "campaign", () => view.campaign?.id, look);
  $(".who").addEventListener("submit", (event) => {
    event.preventDefault();
    rename($(".name").value.trim());
    $(".name").blur();
  });
  $(".rename").addEventListener("click", () => rename(""));
  $(".leave").addEventListener("click", earlier.stopChanging);
  $(".see-results").addEventListener("click", () => trigger("see_results", { id: view.campaign.id }));
  $(".train-on").addEventListener("click", () => trigger("train_on_votes", { id: view.campaign.id }));

  // ---- Painting
  function say(sentence) {
    $(".notice").textContent = sentence;
    $(".notice").hidden = !sentence;
  }

  // `what` does not come: answers, or clips.
  function setAway(away, what = "answers", why = words.away) {
    if (view.away.has(what) === away) return;
    view.away[away ? "add" : "delete"](what);
    view.why = why;
    paintAway();
  }

  function paintAway() {
    const count = outbox.list().length,
      unsent = count === 1 ? words.unsent_one : words.unsent_more.replace("{count}", count);
    say(view.away.size ? (count ? words.unsent.replace("{count}", unsent) : view.why) : "");
  }

  function paintPlace() {
    paintProgress(view);
    if (view.away.size) paintAway();
  }

  function emptiness() {
    if (!view.campaign) return props.offers_new ? words.no_campaign : words.no_campaign_here;
    if (!view.me || currentPair() || view.refilling || view.sending) return null;
    if (!view.open) return words.closed;
    return view.making ? words.waiting : words.no_pairs;
  }

  function paint() {
    const nameless = Boolean(view.campaign) && !view.me,
      nothing = nameless ? null : emptiness();
    $(".who").hidden = !nameless;
    $(".head").hidden = !view.campaign;
    $(".my-name").textContent = view.me ?? "";
    $(".rename").hidden = view.named || !view.me;
    $(".logout").hidden = !view.named;
    $(".open-past").hidden = !view.me;
    $(".undo-last").hidden = Boolean(currentPair()) || !view.done;
    $(".voting").hidden = !currentPair();
    $(".nothing").hidden = !nothing;
    if (nothing) [$(".nothing h3").textContent, $(".nothing p").textContent] = nothing;
    $(".after").hidden = !props.offers_new || !view.campaign || currentPair() || view.making || !view.done;
    paintPlace();
    buttons.paintAxes(view.axes);
    earlier.paint();
  }

  // ---- Nothing to show: look again now and then, while visible.
  const timer = setInterval(() => {
    if (!element.isConnected) return clearInterval(timer);
    if (!visible(element) || document.hidden || view.refilling || view.sending) return;
    if (!currentPair()) look();
    else if (view.generating) refill();
  }, LOOK_AGAIN_MS);

  player.onAway = (away) => setAway(away, "clips");
  buttons.makeVotes();
  watch("value", () => look(props.value?.campaign));
  look(props.value?.campaign);
}
