"""Kill the page, the worker, the attendants and the trainers at random moments while a queue of runs is worked on.

    python tests/faults/kill_storm.py --kills 100 --seed 1

Runs are submitted and resumed through the page, as a person would who finds a run lost or failed in the morning. When
the kills are used up and every run is finished, the workspace is looked at: see `verdicts.py`. Writes JSON lines, the
figures last; exit code 1 when a promise was broken.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from verdicts import broken_promises, weights_of
from workbench import KINDS, ROOT, PageGone, Workbench

from engine.jobs.runs.run_actions import RunState, run_states
from engine.jobs.spec import JobSpec
from engine.request import GenerationRequest

STEPS = 16
PRESET = f"""
title = "A short run"
algorithm = "nft"
model = "mini"
mix = "quick"
rewards = "total"
prompts = "mini"
source = "this test"
notes = "not measured"
[alarms]
every = 0
[settings]
num_frames = 17
width = 64
height = 64
num_steps = 2
guidance = 1.0
lora_rank = 2
max_steps = {STEPS}
num_generations = 2
per_device_train_batch_size = 2
gradient_accumulation_steps = 1
save_steps = 3
logging_steps = 1
sample_clips = 0
save_total_limit = 100
"""
MIX = 'title = "Quick"\n[weights]\nstructure_constancy = 1.0\n'
AWAKE_S = 1.0  # between two looks of the person
TWICE = 0.2  # how often two are killed at once
PATIENCE_S = 1800.0  # without a kill or anything new


class Storm:
    def __init__(self, bench: Workbench, kills: int, seed: int, gap_s: float, waiting: int) -> None:
        self.bench, self.kills, self.gap_s, self.waiting = bench, kills, gap_s, waiting
        self.draw = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.submitted = self.resumed = 0
        self.retried: set[str] = set()

    def run(self) -> None:
        """Until the kills are used up and everything is finished. Raises AssertionError when nothing moves any more."""
        next_s = time.monotonic() + self._gap()
        last, moved_s = "", time.monotonic()
        while True:
            now_s = time.monotonic()
            if self.submitted and self._left and now_s > next_s and self._strike():
                next_s = now_s + self._gap()
            states = run_states(self.bench.queue, limit=10_000)
            self._attend(states)
            waits = self.bench.queue.list(("queued", "running", "stopping"), limit=1)
            if self._is_over(states) and not waits:
                return
            seen = f"{[(one.run.id, one.state, one.step) for one in states]} {self.killed}"
            last, moved_s = (seen, now_s) if seen != last else (last, moved_s)
            assert now_s - moved_s < PATIENCE_S, f"nothing moves: {seen}"
            time.sleep(AWAKE_S * self.draw.uniform(0.1, 1.0))

    @property
    def _left(self) -> int:
        """Kills."""
        return self.kills - sum(self.killed.values())

    def _is_over(self, states: list[RunState]) -> bool:
        finished = all(one.state == "finished" for one in states)
        return not self._left and self.submitted >= self.waiting and finished and not self._clips_to_retry()

    def _gap(self) -> float:
        return self.draw.uniform(0.3, 2 * self.gap_s)

    def _strike(self) -> bool:
        """Kill one process, or two at once; whether there was one."""
        chosen = self.draw.sample(KINDS, 2 if self.draw.random() < TWICE else 1)
        struck = False
        for kind in chosen:
            found = self.bench.victims(kind)
            if not found or not self._left:
                continue
            self.bench.kill(kind, self.draw.choice(found))
            self.killed[kind] += 1
            struck = True
            say({"kill": sum(self.killed.values()), "what": kind, "alone": len(chosen) == 1})
        return struck

    # ---- What a person does
    def _attend(self, states: list[RunState]) -> None:
        """Resume what is lost or failed, and keep the queue filled. Nothing is done while the page does not answer."""
        try:
            for one in states:
                if one.state in ("lost", "failed"):
                    self.bench.call("train-board", "resume", one.run.id)
                    self.resumed += 1
            for job_id in self._clips_to_retry():
                self.bench.call("masthead", "retry_job", job_id)
                self.retried.add(job_id)
            unfinished = sum(one.state != "finished" for one in states)
            if unfinished < self.waiting and (self._left or self.submitted < self.waiting):
                self._submit()
        except PageGone:
            return

    def _clips_to_retry(self) -> list[str]:
        ended = self.bench.queue.list(("lost", "failed"), "generate", limit=10_000)
        return [job.id for job in ended if job.id not in self.retried]

    def _submit(self) -> None:
        """One more run, with half of the device or all of it; and now and then a clip, which somebody waits for."""
        choices = self.bench.call("train-form", "open", "storm")["choices"]
        share = self.draw.choice(["", "0.5"])
        self.bench.call("train-form", "queue", {**choices, "share": share})
        self.submitted += 1
        if self.submitted % 3 == 0:
            request = GenerationRequest(prompt="a large red circle", seed=self.submitted, num_frames=9, num_steps=1)
            self.bench.queue.submit(JobSpec.generate([request]))


def presets(folder: Path) -> Path:
    for kind, name, words in (
        ("train", "storm", PRESET),
        ("rewards", "quick", MIX),
        ("models", "mini", f'source = "{ROOT / "assets" / "mini"}"\n'),
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / f"{name}.toml").write_text(words)
    return folder


def say(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def figures(storm: Storm, problems: list[str], seconds: float) -> dict[str, Any]:
    jobs = storm.bench.queue.list(limit=10_000)
    entries = [entry.event for job in jobs for entry in storm.bench.queue.history(job.id)]
    weights = weights_of(storm.bench.queue)
    return {
        "kills": sum(storm.killed.values()),
        "of": dict(storm.killed),
        "runs": storm.submitted,
        "resumed": storm.resumed,
        "clips_tried_again": len(storm.retried),
        "jobs": dict(Counter(job.status for job in jobs)),
        "adopted": entries.count("adopted"),
        "different_weights": len(weights),
        "problems": problems,
        "seconds": round(seconds),
    }


def lost_causes(storm: Storm) -> Iterator[str]:
    yield from broken_promises(storm.bench.queue, STEPS)
    yield from (f"it still runs: {words}" for words in storm.bench.remains())
    if len(weights_of(storm.bench.queue)) != 1:
        yield "runs of one preset and one seed came to different weights: a resumed run is not the run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gap-s", type=float, default=8.0, help="between two kills on average (default: 8)")
    parser.add_argument("--runs", type=int, default=3, help="unfinished at a time while kills are left (default: 3)")
    parser.add_argument("--keep", type=Path, help="an empty folder for the workspace, which is kept")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["DAILIES_PRESETS"] = str(presets(folder / "presets"))
    bench = Workbench(folder)
    storm, began_s = Storm(bench, options.kills, options.seed, options.gap_s, options.runs), time.monotonic()
    try:
        storm.run()
        problems = [*lost_causes(storm)]
        say(figures(storm, problems, time.monotonic() - began_s))
    finally:
        bench.end()
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
