"""What a "train" job does: a training process of its own, watched by what it writes into the run's folder."""

import logging
import shutil
import subprocess
import time
from collections.abc import Generator

from engine.data.adapters import AdapterCard, has_card, write_card
from engine.data.runs import Run
from engine.data.workspace import Workspace
from engine.errors import JobError
from engine.hardware.environment import process_environment
from engine.jobs.context import JobContext
from engine.jobs.kinds import Run as Running
from engine.jobs.spec import JobProgress, TrainConfig
from engine.jobs.trainee import Trainee, start

POLL_S = 0.5
GRACE_S = 120.0  # for the step that it is in, and its checkpoint
log = logging.getLogger(__name__)


def train(config: TrainConfig, context: JobContext) -> Running:
    """Start or go on with a run. Cancelled, it ends after its step, with a checkpoint. Result: `run` and `adapter`."""
    run = Run.find(context.store.workspace, config.run)
    context.model.release()
    yield from train_run(run, context.store.workspace)
    return {"run": run.id, "adapter": publish(run, context.store.workspace)}


def publish(run: Run, workspace: Workspace) -> str:
    """Make a finished run's adapter one that Generate can use; its name is the run's."""
    target = workspace.adapters / run.id
    shutil.copytree(run.adapter, target, dirs_exist_ok=True)
    if not has_card(target):
        preset = run.preset()
        write_card(target, AdapterCard(model=preset.model, note=f"{preset.title}, run {run.id}."))
    return run.id


def train_run(run: Run, workspace: Workspace) -> Generator[JobProgress, None, None]:
    """Start the run's process and tell where it is until it ends; end it when nobody listens any more.

    Raises JobError when it ends before the run is finished.
    """
    process = start(run, process_environment(workspace))
    try:
        yield from _watch(process, run)
    finally:
        _stop(process)
    if process.returncode != 0:
        raise JobError(f"The run {run.id} failed: {_last_line(run)} Mend it, then resume the run.")


def _watch(process: Trainee, run: Run) -> Generator[JobProgress, None, None]:
    """Tell where the run is until its process ends."""
    while process.poll() is None:
        metrics = run.metrics()
        last = metrics[-1] if metrics else None
        if last is None:
            yield JobProgress(phase="load")
        else:
            yield JobProgress(phase="train", step=int(last["step"]), of=int(last.get("of", 0)))
        time.sleep(POLL_S)


def _stop(process: Trainee) -> None:
    """Ask the process to end with a checkpoint; end it when it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        log.warning("The training process %d did not end within %.0f s of being asked: killed.", process.pid, GRACE_S)
        process.kill()
        process.wait()


def _last_line(run: Run) -> str:
    lines = run.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."
