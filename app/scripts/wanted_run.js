// The run that another tab sends to Monitor, perhaps before Monitor was ever shown.
let wanted = null;

export function wantRun(run) {
  wanted = run;
  document.dispatchEvent(new CustomEvent("dailies:watch"));
}

export function takeWantedRun() {
  const run = wanted;
  wanted = null;
  return run;
}
