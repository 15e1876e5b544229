// The way of votes to the server (see label_desk.js): what cannot be sent now is kept and sent again.
// ---- Asking the server. Throws Away where asking again can help, Refused (with its sentence) where it cannot.
class Away extends Error {}
class Refused extends Error {}

async function ask(name, fields) {
  const init = fields && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields) };
  let reply, said = {};
  try { reply = await fetch("/voting/" + name, init); said = await reply.json(); } catch { throw new Away(); }
  if (reply.status === 401) { location.reload(); throw new Away(); }
  if (reply.status >= 500) throw new Away();
  if (!reply.ok) throw new Refused(said.problem ?? said.detail ?? reply.statusText);
  return said;
}

const pause_ms = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function untilAnswered(name, fields) {
  for (;;) {
    try {
      const answer = await ask(name, fields);
      setAway(false);
      return answer;
    } catch (error) {
      if (!(error instanceof Away)) { setAway(false); throw error; }
      setAway(true);
      await pause_ms(RETRY_MS);
      if (!element.isConnected) throw error;
    }
  }
}

// ---- The votes that the server does not have yet
// One entry of the storage each, because two windows may write at once.
const ours = (one) => !view.named || one.labeller === view.me; // another person's wait until they log in again
const outbox = () =>
  Object.keys(localStorage).filter((name) => name.startsWith(UNSENT)).map((name) => JSON.parse(localStorage.getItem(name))).filter(ours).sort((a, b) => a.at - b.at);
const keep = (one) => localStorage.setItem(UNSENT + one.vote.client_uuid, JSON.stringify(one));
const forget = (one) => localStorage.removeItem(UNSENT + one.vote.client_uuid);

function send() {
  view.sending ??= sendAll().finally(() => { view.sending = null; });
  return view.sending;
}

async function sendAll() {
  for (let next = outbox()[0]; next; next = outbox()[0]) {
    try {
      $(".last").textContent = words.last + ": " + (await untilAnswered(next.edits ? "edit" : "vote", next)).revealed;
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
