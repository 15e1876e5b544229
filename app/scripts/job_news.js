// What the header's queue read last, for everything else on the page that follows jobs: {jobs, ended, more, at}, see
// app/views/queue.py.
import { listen } from "./dom.js";

let latest = null;

export function publish(news) {
  latest = news;
  document.dispatchEvent(new CustomEvent("dailies:jobs"));
}

export function follow(element, take) {
  listen(element, "dailies:jobs", () => take(latest));
  if (latest) take(latest);
}

export const latestNews = () => latest;

// Something was submitted: the queue reads at once.
export const readNow = () => document.dispatchEvent(new CustomEvent("dailies:submitted"));

// Open the drawer of the queue, at a job if one is named.
export const openQueue = (id = "") => document.dispatchEvent(new CustomEvent("dailies:queue", { detail: id }));

// Open the form of Train with a run's settings.
export const cloneRun = (run) => document.dispatchEvent(new CustomEvent("dailies:clone", { detail: run }));

// Call a function of the queue for a job: the header's component has them. Resolves to whether it was done.
let calls = null,
  reads = null;
export const serve = (order, states) => {
  calls = order;
  reads = states;
};
export const orderJob = async (name, argument) => (calls ? calls(name, argument) : false);

// How these jobs stand, by id, without those that were withdrawn, or {problem}.
export const statesOf = async (ids) => (reads ? reads(ids) : { problem: "" });
