"""What a "train" job does: a training process of its own, watched by what it writes into the run's folder."""

import filecmp
import shutil
import time
from collections.abc import Generator

from engine.errors import JobCancelled, JobError, JobLostError
from engine.execution.process_runner import POLL_S, Handle, ProcessRunner, ProcessStatus, monitored
from engine.families.lora_files import WEIGHT_FILES
from engine.files.atomic import replace_folder
from engine.jobs.context import JobContext
from engine.jobs.handlers.train_process import begin
from engine.jobs.kinds import JobSteps as Running
from engine.jobs.spec import JobProgress, TrainConfig
from engine.runs.adapters import Adapter, AdapterCard, has_card, newest_of_runs, write_card
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.storage.temp_folders import temp_path
from engine.workspace import Workspace

STOPPED = 3
"""The exit code of `engine.training.main` when a run ended before its end, with nothing wrong."""
REFUSED = 4
"""Its exit code when the run's settings can never work."""
LAUNCHER_FAILED = 1
"""A launcher's exit code, whatever its processes ended with."""


def train(config: TrainConfig, context: JobContext) -> Running:
    """Start or go on with a run. Cancelled, it ends after its step, with a checkpoint. Result: `run` and `adapter`."""
    run = Run.find(context.store.workspace, config.run)
    yield from train_run(run, context)
    return {"run": run.id, "adapter": publish(run, context.store.workspace)}


def publish(run: Run, workspace: Workspace) -> str | None:
    """Make a finished run's adapter one that Generate can use, and say its name, see `newest_of_runs`.

    None where the whole network was trained: that is no adapter, and stays in the run's folder.
    """
    if not run.has_adapter:
        return None
    before = newest_of_runs(workspace).get(run.id)
    if before is not None and _is_of(before, run):
        return before.name
    aside = temp_path(workspace, run.id)
    shutil.copytree(run.adapter, aside)
    if not has_card(aside):
        preset = run.preset()
        write_card(aside, AdapterCard(model=preset.model, note=f"{preset.title}, run {run.id}."))
    workspace.adapters.mkdir(exist_ok=True)
    name = run.id if before is None else f"{run.id}-to-{run.progress()[0]}"
    replace_folder(aside, workspace.adapters / name)
    return name


def is_published(run: Run) -> bool:
    """Whether Generate has the adapter that a finished run came to, and not one from before the run was extended.

    A job may be cut off between the two: the run is then to be resumed, which only publishes it.
    """
    if not run.has_adapter:
        return True
    found = newest_of_runs(run.workspace).get(run.id)
    return found is not None and _is_of(found, run)


def _is_of(adapter: Adapter, run: Run) -> bool:
    """Whether an adapter has the weights of the run's. Contents are read only where size or time differ."""
    names = [path.name for path in run.adapter.iterdir() if path.name in WEIGHT_FILES]
    return all(
        (adapter.folder / name).is_file() and filecmp.cmp(adapter.folder / name, run.adapter / name) for name in names
    )


def train_run(run: Run, context: JobContext) -> Generator[JobProgress, None, None]:
    """Start the run's process and tell where it is until it ends; end it when nobody listens any more.

    A run that has its adapter is finished, and nothing is started; nor does it matter how a process ended that got so
    far. Only that of a cluster goes on when the worker has to end. Raises JobError when it fails before the run is
    finished, Cancelled when it was stopped by an alarm or from outside, Lost when it is gone without a word.
    """
    if run.adapter.is_dir():
        return
    if context.resources.is_local:
        context.model.release()
    alarms = len(run.alarms())
    runner, handle = begin(run, context)
    with monitored(runner, handle):
        ended = yield from _watch(runner, handle, run)
    if run.adapter.is_dir():
        return
    if ended.state == "lost":
        raise JobLostError(f"The run {run.id} is lost. {ended.sentence}")
    if ended.exit_code is not None and ended.exit_code < 0:
        raise JobError(
            f"The run {run.id} failed: its process was killed by signal {-ended.exit_code}, by somebody or for want of "
            "memory. Resume it to go on from its last checkpoint."
        )
    alarm = next((one for one in reversed(run.alarms()[alarms:]) if one.action != "log"), None)
    told = ended.exit_code == LAUNCHER_FAILED and context.resources.processes > 1 and alarm is not None
    if ended.exit_code == STOPPED or told:
        raise JobCancelled(_stopped(run, alarm))
    if ended.exit_code == REFUSED:
        raise JobError(f"The run {run.id} failed: {run.last_line()} Start another run with that setting changed.")
    if ended.exit_code != 0:
        raise JobError(f"The run {run.id} failed: {run.last_line()} Mend it, then resume the run.")


def _stopped(run: Run, alarm: Alarm | None) -> str:
    """Why a run ended that did not fail."""
    if alarm is None:
        return f"The run {run.id} was stopped, with a checkpoint: resume it to go on."
    ways = {"pause": "go on from its last checkpoint", "roll_back": "go on from the last checkpoint that was sound"}
    cause = f"The run {run.id} was paused by its alarm at step {alarm.step}. {alarm.sentence}"
    return f"{cause} Resume it to {ways[alarm.action]}."


def _watch(runner: ProcessRunner, handle: Handle, run: Run) -> Generator[JobProgress, None, ProcessStatus]:
    """Tell where the run is until its process is over, and once more then: who is to stop hears of it in between."""
    while not (now := runner.poll(handle)).is_over:
        yield _told(now, handle, run)
        time.sleep(POLL_S)
    yield _told(now, handle, run)
    return now


def _told(now: ProcessStatus, handle: Handle, run: Run) -> JobProgress:
    step, of = run.progress()
    if now.state == "waiting":
        return JobProgress(phase="wait", handle=handle)
    return JobProgress(phase="train" if step else "load", step=step, of=of, handle=handle)
