// What a list of jobs says aloud (see job_queue.js): that one begins or waits, and how one ended; not each step between.
import { announce } from "../scripts/announce.js";

const phase = (job) => (job.over ? "over" : job.status);

// `speak(before, jobs, listed)`, two maps of jobs by id and the ids of the jobs that ended last; `done` is said of those
// of them that are gone. Of so many ends at once that some are not listed, the others are not said.
export function jobAnnouncer(done) {
  let spoke = false; // what is there when the page opens is no news

  return function speak(before, jobs, listed) {
    const moved = [...jobs.values()].filter(
      (job) => (before.has(job.id) || !job.over) && phase(job) !== (before.get(job.id) && phase(before.get(job.id))),
    );
    const ended = [...before.values()].filter((job) => !job.over && !jobs.has(job.id) && listed.has(job.id));
    const said = [...moved.map((job) => `${job.title}: ${job.line}`), ...ended.map((job) => `${job.title}: ${done}`)];
    if (spoke && said.length) announce(said.join(". "));
    spoke = true;
  };
}
