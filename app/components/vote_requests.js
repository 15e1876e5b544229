// Asking the server of votes. Throws Away where asking again can help, Refused (with its sentence) where it cannot.
// Only an answer marked as ours refuses: one of a proxy on the way (429, 403, a page of its own) is Away.
const REFUSALS = [409, 422];
const RETRY_MS = 1000;

export class Away extends Error {
  constructor(status) {
    super(status ? `HTTP ${status}` : "no answer");
    this.status = status;
  }
}
export class Refused extends Error {}

export async function ask(name, fields) {
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

// The sentence of an error of `ask`.
export const sentenceOf = (error, words) =>
  error instanceof Refused
    ? error.message
    : error.status
      ? words.strange.replace("{status}", error.status)
      : words.away;

const pause = () => new Promise((resolve) => setTimeout(resolve, RETRY_MS));

// `untilAnswered(name, fields, isOurs)` asks again while nothing answers; `onAway(error)` is called with each Away, and
// with null when an answer came. `isOurs` tells an answer of the page's server from one of something on the way that
// says 200 as well.
export function persistent(element, onAway) {
  return async function untilAnswered(name, fields, isOurs = () => true) {
    for (;;) {
      try {
        const answer = await ask(name, fields);
        if (!isOurs(answer)) throw new Away(200);
        onAway(null);
        return answer;
      } catch (error) {
        onAway(error instanceof Away ? error : null);
        if (!(error instanceof Away)) throw error;
        await pause();
        if (!element.isConnected) throw error;
      }
    }
  };
}
