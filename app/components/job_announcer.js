// What a strip of jobs says aloud (see job_list.js): that one begins or waits, and how one ended; not each step
// between.
const phase = (job) => (job.over ? "over" : job.status);
let spoke = false; // what is there when the page opens is no news

function speak(before, jobs) {
  const moved = [...jobs.values()].filter(
    (job) => (before.has(job.id) || !job.over) && phase(job) !== (before.get(job.id) && phase(before.get(job.id))),
  );
  const ended = [...before.values()].filter((job) => !job.over && !jobs.has(job.id));
  const said = [
    ...moved.map((job) => `${job.title}: ${job.line}`),
    ...ended.map((job) => `${job.title}: ${words.done}`),
  ];
  if (spoke && said.length) window.dailies.announce(said.join(". "));
  spoke = true;
}
