// The votes that the server does not have yet. One entry of the storage each, because two windows may write at once.
import { readJson, storage } from "../scripts/storage.js";

const UNSENT = "dailies.vote.";

// `isOurs(entry)`: another person's votes wait until they log in again.
export function voteOutbox(element, isOurs) {
  const keyOf = (entry) => UNSENT + entry.vote.client_uuid;
  // An entry that is damaged stays as it is.
  const list = () =>
    storage
      .names()
      .filter((name) => name.startsWith(UNSENT))
      .map((name) => readJson(name, null))
      .filter((entry) => entry?.vote && isOurs(entry))
      .sort((a, b) => a.at - b.at);

  // A vote that could not be put into the storage is lost with the page: the browser asks before it goes.
  addEventListener("beforeunload", (event) => {
    if (element.isConnected && list().some((entry) => !storage.isKept(keyOf(entry)))) event.preventDefault();
  });

  return {
    list,
    keep: (entry) => storage.set(keyOf(entry), JSON.stringify(entry)),
    forget: (entry) => storage.remove(keyOf(entry)),
  };
}

export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID(); // only where the page came over HTTPS or from this machine
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
