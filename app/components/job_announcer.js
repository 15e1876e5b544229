// What a list of jobs says aloud (see job_queue.js): that one begins or waits, and how one ended; not each step between.
import { announce } from "../scripts/announce.js";

const phase = (job) => (job.over ? "over" : job.status);

// `speak(before, jobs)`, both maps of jobs by id; `done` is said of a job that is gone.
export function jobAnnouncer(done) {
  let spoke = false; // what is there when the page opens is no news

  return function speak(before, jobs) {
    const moved = [...jobs.values()].filter(
      (job) => (before.has(job.id) || !job.over) && phase(job) !== (before.get(job.id) && phase(before.get(job.id))),
    );
    const ended = [...before.values()].filter((job) => !job.over && !jobs.has(job.id));
    const said = [...moved.map((job) => `${job.title}: ${job.line}`), ...ended.map((job) => `${job.title}: ${done}`)];
    if (spoke && said.length) announce(said.join(". "));
    spoke = true;
  };
}
