"""What has to be true of a workspace after a storm, each broken promise one sentence."""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from sqlalchemy import select

from engine.errors import DailiesError
from engine.execution.attempt import Attempt
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.queue import JobQueue
from engine.jobs.spec import Job
from engine.request import GenerationRequest
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.metrics import MetricStore
from engine.runs.run import Run, list_runs
from engine.storage.clip_files import load_clip
from engine.storage.schema import LEASES

# A job is taken once, goes back only by being put back, changes hands any number of times, and ends once.
STARTED = r"queued (?:running (?:adopted )*(?:queued running (?:adopted )*)*(?:stopping (?:adopted )*)?"
LEGAL = re.compile(rf"^{STARTED}(?:done|failed|cancelled|lost)|cancelled) $")
EVERY = 10_000


def broken_promises(queue: JobQueue, steps: int) -> Iterator[str]:
    """`steps` are the updates that each run was to have."""
    jobs = queue.list(limit=EVERY)
    for job in jobs:
        yield from _of_job(queue, job)
    for run in list_runs(queue.store.workspace):
        mine = [job for job in jobs if job.config.get("run") == run.id]
        yield from _of_run(queue, run, mine, steps)
    with queue.store.database.reading() as connection:
        held = connection.execute(select(LEASES)).all()
    if held:
        yield f"{len(held)} parts of a device are held by nobody who lives"


def weights_of(queue: JobQueue) -> Counter[str]:
    """How many finished runs came to which weights, to the bit."""
    runs = [run for run in list_runs(queue.store.workspace) if run.adapter.is_dir()]
    return Counter(_digest(run.adapter / WEIGHTS_FILE) for run in runs)


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(file).items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()[:12]


def _of_job(queue: JobQueue, job: Job) -> Iterator[str]:
    """Its state is an end, and true; the journal tells of one execution."""
    events = "".join(f"{entry.event} " for entry in queue.history(job.id))
    if not LEGAL.match(events):
        yield f"job {job.id} went through: {events}"
    if not job.is_over:
        yield f"job {job.id} is {job.status}"
    for request in job.config.get("requests", ()):
        try:
            load_clip(queue.store.workspace, GenerationRequest(**request).id)
        except DailiesError as error:
            yield f"job {job.id} and those that tried it again left no whole clip: {error}"


def _of_run(queue: JobQueue, run: Run, jobs: list[Job], steps: int) -> Iterator[str]:
    if not run.adapter.is_dir():
        yield f"run {run.id} is not finished"
    yield from _of_attempts(queue, run, jobs)
    yield from _of_metrics(run, steps)
    for folder in run.checkpoints.glob(f"{CHECKPOINT}*"):
        yield from _of_checkpoint(folder)
    yield from _of_weights(run.adapter / WEIGHTS_FILE)
    yield from _of_weights(queue.store.workspace.adapters / run.id / WEIGHTS_FILE)


def _of_attempts(queue: JobQueue, run: Run, jobs: list[Job]) -> Iterator[str]:
    """A process for each time that a job was taken, at most, and the ends of both fit together. A process may be killed
    after it has finished the run and before it has said so: that job is done too."""
    taken = sum(entry.event == "running" for job in jobs for entry in queue.history(job.id))
    codes = [Attempt.at(place).exit_code() for place in (run.folder / "attempts").iterdir()]
    if len(codes) > taken:
        yield f"run {run.id} was started {len(codes)} times, for {taken} times that a job was taken"
    ends = Counter(job.status for job in jobs)
    if ends["done"] != 1 or codes.count(0) > 1:
        yield f"run {run.id}: {ends['done']} jobs say that it is done, {codes.count(0)} processes that they finished it"
    told = sum(code is not None and code != 0 for code in codes)
    if ends["failed"] > told:
        yield f"run {run.id}: {ends['failed']} jobs failed, but only {told} processes did"


def _of_metrics(run: Run, steps: int) -> Iterator[str]:
    """No step is missing or there twice for a reader; in the file each process goes on from a checkpoint, forward."""
    wanted = list(range(1, steps + 1))
    if [row["step"] for row in run.metrics()] != wanted:
        yield f"run {run.id}: the steps {[int(row['step']) for row in run.metrics()]}"
    columns = MetricStore(run)
    while columns.read_new():
        pass
    if columns.columns["loss"].points()[0].tolist() != wanted:
        yield f"run {run.id}: the curve's steps {columns.columns['loss'].points()[0].tolist()}"
    rows = list(_whole_rows(run))
    back = sum(after["step"] <= before["step"] for before, after in itertools.pairwise(rows))
    attempts = len(list((run.folder / "attempts").iterdir()))
    if back >= attempts:
        yield f"run {run.id}: its steps go back {back} times in {attempts} processes: two trained it at once"
    leaps = [(a["step"], b["step"]) for a, b in itertools.pairwise(rows) if b["step"] > a["step"] + 1]
    if leaps:
        yield f"run {run.id}: steps were left out: {leaps}"
    if any(after["at"] < before["at"] for before, after in itertools.pairwise(rows)):
        yield f"run {run.id}: its steps are not in the order in which they were made"


def _whole_rows(run: Run) -> Iterator[dict[str, float]]:
    """The rows of updates as they stand in the file, torn ones left out."""
    for line in run.metrics_file.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if "loss" in row:
            yield row


def _of_checkpoint(folder: Path) -> Iterator[str]:
    """Every file can be read, and it is of the step that its name says."""
    try:
        state = json.loads((folder / "trainer_state.json").read_text())
        if state["global_step"] != int(folder.name.removeprefix(CHECKPOINT)):
            yield f"{folder} is of step {state['global_step']}"
        for file in folder.rglob("*.pt"):
            torch.load(file, weights_only=False)
        for file in folder.rglob("*.pth"):
            torch.load(file, weights_only=False)
        files = list(folder.rglob("*.safetensors"))
        for file in files:
            load_file(file)
        if not files:
            yield f"{folder} holds no weights"
    except Exception as error:
        yield f"{folder} is torn: {error}"


def _of_weights(file: Path) -> Iterator[str]:
    try:
        if not load_file(file):
            yield f"{file} is empty"
    except Exception as error:
        yield f"{file} is torn: {error}"
