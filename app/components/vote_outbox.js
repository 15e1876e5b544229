// The way of votes to the server (see voting_panel.js): what cannot be sent now is kept and sent again.
// ---- Asking the server. Throws Away where asking again can help, Refused (with its sentence) where it cannot.
// Only an answer marked as ours refuses: one of a proxy on the way (429, 403, a page of its own) is Away.
class Away extends Error {
  constructor(status) {
    super(status ? `HTTP ${status}` : "no answer");
    this.sentence = status ? words.strange.replace("{status}", status) : words.away;
  }
}
class Refused extends Error {}
const REFUSALS = [409, 422];

async function ask(name, fields) {
  const init = fields && {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(fields),
  };
  let reply,
    said = {};
  try {
    reply = await fetch("/voting/" + name, init);
    said = await reply.json();
  } catch {
    throw new Away();
  }
  if (reply.status === 401) {
    location.reload();
    throw new Away();
  }
  if (REFUSALS.includes(reply.status) && said?.refused === true) throw new Refused(said.problem);
  if (!reply.ok || typeof said !== "object" || said === null) throw new Away(reply.status);
  return said;
}

const pause_ms = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// `isOurs` tells an answer of the page's server from one of something on the way that says 200 as well.
async function untilAnswered(name, fields, isOurs = () => true) {
  for (;;) {
    try {
      const answer = await ask(name, fields);
      if (!isOurs(answer)) throw new Away(200);
      setAway(false);
      return answer;
    } catch (error) {
      if (!(error instanceof Away)) {
        setAway(false);
        throw error;
      }
      setAway(true, "answers", error.sentence);
      await pause_ms(RETRY_MS);
      if (!element.isConnected) throw error;
    }
  }
}

// ---- The votes that the server does not have yet
// One entry of the storage each, because two windows may write at once.
const ours = (one) => !view.named || one.labeller === view.me; // another person's wait until they log in again
const { storage } = window.dailies;
const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}; // null: an entry that is damaged stays as it is
const outbox = () =>
  storage
    .names()
    .filter((name) => name.startsWith(UNSENT))
    .map((name) => parsed(storage.get(name)))
    .filter((one) => one?.vote && ours(one))
    .sort((a, b) => a.at - b.at);
const keep = (one) => storage.set(UNSENT + one.vote.client_uuid, JSON.stringify(one));
const forget = (one) => storage.remove(UNSENT + one.vote.client_uuid);

// A vote that could not be put into the storage is lost with the page: the browser asks before it goes.
addEventListener("beforeunload", (event) => {
  if (element.isConnected && outbox().some(({ vote }) => !storage.isKept(UNSENT + vote.client_uuid)))
    event.preventDefault();
});

function send() {
  view.sending ??= sendAll().finally(() => {
    view.sending = null;
  });
  return view.sending;
}

async function sendAll() {
  for (let next = outbox()[0]; next; next = outbox()[0]) {
    try {
      const isOurs = ({ stored }) => stored === next.vote.client_uuid;
      $(".last").textContent =
        words.last + ": " + (await untilAnswered(next.edits ? "edit" : "vote", next, isOurs)).said;
      view.last = next.vote.client_uuid;
    } catch (error) {
      if (!(error instanceof Refused)) return;
      say(error.message);
    }
    forget(next);
    paintPlace();
  }
}

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID(); // only where the page came over HTTPS or from this machine
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
