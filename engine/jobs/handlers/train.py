"""The "train" job: start a training process and monitor it through the files in the run's folder."""

import filecmp
import shutil
import time
from collections.abc import Generator

from engine.errors import JobCancelled, JobError, JobLostError
from engine.execution.process_runner import POLL_S, Handle, ProcessRunner, ProcessStatus, monitored
from engine.families.lora_files import WEIGHT_FILES
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps
from engine.jobs.runs.train_process import begin
from engine.jobs.spec import JobProgress, TrainConfig
from engine.runs.adapters import Adapter, AdapterCard, has_card, newest_of_runs, write_card
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.storage.temp_folders import replaced_folder
from engine.training.exit_codes import REFUSED, STOPPED
from engine.workspace import Workspace

LAUNCHER_FAILED = 1
"""A launcher's exit code for any non-zero exit code of its processes."""


def train(config: TrainConfig, context: JobContext) -> JobSteps:
    """Start or resume a run.

    A cancelled run saves a checkpoint after its current step. Result: `run` and `adapter`.
    """
    run = Run.find(context.store.workspace, config.run)
    yield from train_run(run, context)
    return {"run": run.id, "adapter": publish(run, context.store.workspace)}


def publish(run: Run, workspace: Workspace) -> str | None:
    """Copy a finished run's adapter to the adapters that Generate lists, and return its name.

    See `newest_of_runs`. Return None when the whole network was trained: its weights stay in the run's folder.
    """
    if not run.has_adapter:
        return None
    before = newest_of_runs(workspace).get(run.id)
    if before is not None and _is_of(before, run):
        return before.name
    name = run.id if before is None else f"{run.id}-to-{run.progress()[0]}"
    try:
        with replaced_folder(workspace.adapters / name) as partial:
            shutil.copytree(run.adapter, partial, dirs_exist_ok=True)
            if not has_card(partial):
                preset = run.preset()
                write_card(partial, AdapterCard(model=preset.model, note=f"{preset.title}, run {run.id}."))
    except OSError as error:  # shutil.Error, of many files, has no strerror
        why = error.strerror or "not all files were copied"
        raise JobError(
            f"The adapter of {run.id} cannot be published ({why}): free some space, and resume the run."
        ) from error
    return name


def is_published(run: Run) -> bool:
    """Return True when the final adapter of a finished run is published, not an earlier one.

    A job may be interrupted between training and publishing: resuming the run then only publishes the adapter.
    """
    if not run.has_adapter:
        return True
    adapter = newest_of_runs(run.workspace).get(run.id)
    return adapter is not None and _is_of(adapter, run)


def _is_of(adapter: Adapter, run: Run) -> bool:
    """Return True when an adapter has the run's weights.

    Contents are compared only when size or time differ.
    """
    names = [path.name for path in run.adapter.iterdir() if path.name in WEIGHT_FILES]
    return all(
        (adapter.folder / name).is_file() and filecmp.cmp(adapter.folder / name, run.adapter / name) for name in names
    )


def train_run(run: Run, context: JobContext) -> Generator[JobProgress, None, None]:
    """Start the run's process and yield its progress until it ends; stop it when the generator is closed.

    A run that has its adapter is finished: no process is started, and the exit code of its process is ignored. When the
    worker shuts down, only a cluster's process continues. Raises JobError when the process fails before the run is
    finished, JobCancelled when an alarm or an external request stopped it, JobLostError when it left no exit code.
    """
    if run.adapter.is_dir():
        return
    if context.resources.is_local:
        context.model.release()
    num_alarms = len(run.alarms())
    runner, handle = begin(run, context)
    with monitored(runner, handle):
        ended = yield from _watch(runner, handle, run)
    if run.adapter.is_dir():
        return
    if ended.state == "lost":
        raise JobLostError(f"The run {run.id} is lost. {ended.sentence}")
    if ended.exit_code is not None and ended.exit_code < 0:
        raise JobError(
            f"The run {run.id} failed: its process was killed by signal {-ended.exit_code}, on request or because "
            "memory ran out. Resume it to continue from its last checkpoint."
        )
    alarm = next((alarm for alarm in reversed(run.alarms()[num_alarms:]) if alarm.action != "log"), None)
    launcher_stopped = ended.exit_code == LAUNCHER_FAILED and context.resources.processes > 1 and alarm is not None
    if ended.exit_code == STOPPED or launcher_stopped:
        raise JobCancelled(_stopped(run, alarm))
    if ended.exit_code == REFUSED:
        clone = f"`dailies clone {run.id} --set KEY=VALUE`"
        raise JobError(
            f'The run {run.id} was refused: {run.last_line()} Start another with other settings: "Clone settings", or '
            f"{clone}."
        )
    if ended.exit_code != 0:
        raise JobError(f"The run {run.id} failed: {run.last_line()} Fix the cause, then resume the run.")


def _stopped(run: Run, alarm: Alarm | None) -> str:
    """Return the message for a run that was stopped without a failure."""
    if alarm is None:
        return f"The run {run.id} was stopped, with a checkpoint: resume it to continue."
    actions = {"pause": "continue from its last checkpoint", "roll_back": "continue from the last sound checkpoint"}
    cause = f"The run {run.id} was paused by its alarm at step {alarm.step}. {alarm.sentence}"
    return f"{cause} Resume it to {actions[alarm.action]}."


def _watch(runner: ProcessRunner, handle: Handle, run: Run) -> Generator[JobProgress, None, ProcessStatus]:
    """Yield the run's progress until its process has ended, and once after that.

    The caller can request a stop at each yield.
    """
    while not (now := runner.poll(handle)).is_over:
        yield _progress(now, handle, run)
        time.sleep(POLL_S)
    yield _progress(now, handle, run)
    return now


def _progress(now: ProcessStatus, handle: Handle, run: Run) -> JobProgress:
    step, of = run.progress()
    if now.state == "waiting":
        return JobProgress(phase="wait", handle=handle)
    return JobProgress(phase="train" if step else "load", step=step, of=of, handle=handle)
