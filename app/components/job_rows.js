// What the rows of jobs have in common: see job_queue.js and job_watch.js.

export function paintTrack(row, job) {
  const track = row.querySelector(".track"),
    known = job.fraction !== null;
  track.classList.toggle("is-unknown", !known);
  track.setAttribute("aria-label", job.line);
  if (known) track.setAttribute("aria-valuenow", Math.round(job.fraction * 100));
  else track.removeAttribute("aria-valuenow");
  row.querySelector(".done").style.width = known ? job.fraction * 100 + "%" : "";
}
