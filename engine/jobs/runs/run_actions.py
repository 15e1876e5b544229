"""Actions on a run (start, resume, extend, copy with changes) and its state.

The state is derived from the run's folder and its newest job; it is not stored.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from engine.config.presets import change_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, DailiesError, JobError
from engine.execution.attempt import last_exit_code, was_killed
from engine.execution.resources import Resources, read_resources
from engine.files.atomic import write_text_atomic
from engine.jobs.handlers.train import is_published
from engine.jobs.job_rows import jobs_of, newest_by
from engine.jobs.queue import JobQueue
from engine.jobs.spec import ENDED, TRAIN, Job, JobSpec
from engine.jobs.submission import submission_lock
from engine.runs.in_use import remedy, user_of_run
from engine.runs.purge import move_to_trash
from engine.runs.run import Run, list_runs
from engine.training.exit_codes import REFUSED
from rewards.models import FrozenModel

State = Literal["new", "queued", "training", "stopping", "stopped", "failed", "refused", "killed", "lost", "finished"]
JOB_STATES: Mapping[str, State] = {
    "queued": "queued",
    "running": "training",
    "stopping": "stopping",
    "failed": "failed",
    "lost": "lost",
}
CHANGE, ADAPTER_BEFORE = "change.json", "adapter.before"
"""In a run's folder while it is extended: what it was before, and its adapter."""
RESUMABLE: tuple[State, ...] = ("new", "stopped", "killed", "failed", "lost")


class SettingsBefore(FrozenModel):
    """Content of CHANGE: the id of the run's newest job, "" without one, and its settings."""

    newest_job: str
    preset: TrainPreset


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run with its state and its newest job.

    A "refused" run failed because of its settings: it would fail again, so a new run needs other ones.

    `step` of `of` updates are done; both are 0 while unknown. When the run's folder is damaged, `preset` is None and
    `problem` is the reason. A run that trains without an active `job` was started by a curriculum or in a shell.
    """

    run: Run
    state: State
    preset: TrainPreset | None
    step: int = 0
    of: int = 0
    job: Job | None = None
    problem: str = ""
    note: str = ""
    """A sentence about the last damaged checkpoint that was replaced by an older one."""

    @property
    def can_resume(self) -> bool:
        return self.preset is not None and self.state in RESUMABLE

    @property
    def can_extend(self) -> bool:
        """True when the run has a checkpoint and is not being trained."""
        is_idle = self.state in ("finished", "refused", *RESUMABLE)
        return self.preset is not None and is_idle and self.run.last_checkpoint() is not None


def run_states(queue: JobQueue, limit: int = 50) -> list[RunState]:
    """Return the states of the workspace's runs, newest first."""
    jobs = newest_by(queue.store.database, TRAIN, "run")
    return [_state(run, jobs.get(run.id)) for run in list_runs(queue.store.workspace)[:limit]]


def run_state(queue: JobQueue, run_id: str) -> RunState:
    """Return the state of a run. Raises ConfigError when it does not exist."""
    run = Run.find(queue.store.workspace, run_id)
    return _state(run, _newest_job(queue, run))


def submit_run(queue: JobQueue, run: Run, where: Resources | None = None, key: str | None = None) -> Job:
    """Queue a run, from its start or its last checkpoint.

    It uses the resources of its last job unless `where` is set. `key` names the request, see `JobQueue.submit`. Raises
    JobError when the run is already queued or being trained.
    """
    with _filing(queue):
        return _submit(queue, run, where, key)


def _filing(queue: JobQueue, *run_ids: str) -> AbstractContextManager[None]:
    """Lock the runs from the check of a state to the action; two windows may act on one run.

    Raises ConfigError for an unknown run.
    """
    for run_id in run_ids:
        Run.find(queue.store.workspace, run_id)
    return submission_lock(queue)


def _filed_before(queue: JobQueue, key: str | None) -> Job | None:
    """Return the job of an earlier request with this key, whose answer was lost."""
    own_id = JobQueue.id_of(key)
    return next(iter(jobs_of(queue.store.database, [own_id])), None) if own_id else None


def _submit(queue: JobQueue, run: Run, where: Resources | None = None, key: str | None = None) -> Job:
    job = _newest_job(queue, run)
    if job is not None and job.status not in ENDED and job.id != JobQueue.id_of(key):
        raise JobError(f"The run {run.id} is {job.status} already, as job {job.id}: cancel that first.")
    if where is None and job is not None:
        where = read_resources({**job.resources, "address": ""})  # the cluster may have moved since
    return queue.submit(JobSpec.train(run.id, where), key)


def resume(queue: JobQueue, run_id: str, key: str | None = None) -> Job:
    """Queue a run that is not finished, to continue it. Raises JobError for a finished run."""
    with _filing(queue, run_id):
        if (filed := _filed_before(queue, key)) is not None:
            return filed
        _settle_killed_change(queue, Run.find(queue.store.workspace, run_id))
        run = run_state(queue, run_id)
        if run.state == "finished":
            raise JobError(
                f"The run {run_id} is finished: extend it by some steps, or start another with its settings."
            )
        return _submit(queue, run.run, key=key)


def extend(queue: JobQueue, run_id: str, steps: int, key: str | None = None) -> Job:
    """Queue a run that is not being trained for `steps` updates more than planned.

    The learning rate schedule is stretched to the new length. The published adapter stays until the run is finished.
    Raises ConfigError for invalid `steps`, JobError when the run cannot be extended.
    """
    if not 1 <= steps <= 10**7:
        raise ConfigError(f"A run can be extended by 1 to 10,000,000 updates, but got {steps}.")
    with _filing(queue, run_id):
        if (filed := _filed_before(queue, key)) is not None:
            return filed
        _settle_killed_change(queue, Run.find(queue.store.workspace, run_id))
        state = run_state(queue, run_id)
        if not state.can_extend or state.preset is None:
            raise JobError(f"The run {run_id} cannot be extended: it is {state.state}, or has no checkpoint.")
        length = max(int(state.preset.settings.get("max_steps") or 0), state.of) + steps  # type: ignore[arg-type]
        changed = change_preset(state.preset, {"settings": {"max_steps": length}})
        return _filed_changed(queue, state.run, state.preset, changed, key)


def _filed_changed(queue: JobQueue, run: Run, before: TrainPreset, changed: TrainPreset, key: str | None) -> Job:
    """Queue a run with other settings and without its adapter; restore both when it cannot be queued."""
    aside = run.folder / ADAPTER_BEFORE
    change = SettingsBefore(newest_job=_newest_job_id(queue, run), preset=before)
    with ExitStack() as undo:
        undo.callback((run.folder / CHANGE).unlink, missing_ok=True)
        write_text_atomic(run.folder / CHANGE, change.model_dump_json())
        undo.callback(run.replace_preset, before)
        run.replace_preset(changed)
        if run.adapter.is_dir():
            run.adapter.rename(aside)
            undo.callback(aside.rename, run.adapter)
        job = _submit(queue, run, key=key)
        undo.pop_all()
    _settle_killed_change(queue, run)
    return job


def _settle_killed_change(queue: JobQueue, run: Run) -> None:
    """Undo a change that was killed before its job was queued; else remove what it set aside."""
    aside = run.folder / ADAPTER_BEFORE
    try:
        before = SettingsBefore.model_validate_json((run.folder / CHANGE).read_bytes())
    except (OSError, ValidationError):  # no change was killed, or one by an earlier version
        before = None
    is_queued = before is not None and before.newest_job != _newest_job_id(queue, run)
    if before is not None and not is_queued:
        run.replace_preset(before.preset)
    if not is_queued and aside.is_dir() and not run.adapter.is_dir():
        aside.rename(run.adapter)
    shutil.rmtree(aside, ignore_errors=True)
    (run.folder / CHANGE).unlink(missing_ok=True)


def delete(queue: JobQueue, run_ids: Sequence[str]) -> None:
    """Move runs to the trash, all or none; `engine.runs.purge.restore_runs` brings them back.

    Raises JobError for a run that a job or an unfinished curriculum uses, ConfigError for one that is trained.
    """
    workspace = queue.store.workspace
    with _filing(queue, *run_ids):
        runs = [Run.find(workspace, run_id) for run_id in dict.fromkeys(run_ids)]
        for run in runs:
            user = user_of_run(queue.store, run.id)
            if user:
                raise JobError(
                    f"The run {run.id} is used by {user}: {remedy(user, 'cancel that first')}. No run was deleted."
                )
        move_to_trash(runs)


def clone_preset(run: Run, changes: Mapping[str, Any]) -> TrainPreset:
    """Return the settings of a run with changes, for a new run. Raises ConfigError for invalid changes."""
    return change_preset(run.preset(), changes)


def _newest_job_id(queue: JobQueue, run: Run) -> str:
    job = _newest_job(queue, run)
    return "" if job is None else job.id


def _newest_job(queue: JobQueue, run: Run) -> Job | None:
    return newest_by(queue.store.database, TRAIN, "run", run.id).get(run.id)


def _state(run: Run, job: Job | None) -> RunState:
    try:
        preset = run.preset()
    except DailiesError as error:
        return RunState(run=run, state="failed", preset=None, job=job, problem=str(error))
    state, step, of = progress_of(run, job)
    problem = job.error or "" if job is not None and job.status in ("failed", "lost") else ""
    return RunState(
        run=run,
        state=state,
        preset=preset,
        step=step,
        of=of,
        job=job,
        problem="" if state in ("finished", "training", "killed") else problem,
        note=last_fallback(run),
    )


def progress_of(run: Run, job: Job | None) -> tuple[State, int, int]:
    """Return the state of a run whose newest job is `job`, and the step that it reached of how many."""
    step, of = run.progress()
    return _reached(run, job, began=step > 0), step, of


def last_fallback(run: Run) -> str:
    """Return a sentence about the last damaged checkpoint that an older one replaced; "" if none was."""
    fallbacks = run.series.fallbacks()
    return fallbacks[-1].sentence if fallbacks else ""


def _reached(run: Run, job: Job | None, *, began: bool) -> State:
    active = job is not None and job.status not in ENDED
    ended_badly = job is not None and job.status in ("failed", "lost", "cancelled")
    if run.adapter.is_dir() and not active and not (ended_badly and not is_published(run)):
        return "finished"
    if not active and run.is_training:
        return "training"
    if job is not None and job.status == "failed" and last_exit_code(run.folder) == REFUSED:
        return "refused"
    if job is not None and job.status in ("failed", "cancelled") and was_killed(run.folder):
        return "killed"
    if job is not None and job.status in JOB_STATES:
        return JOB_STATES[job.status]
    return "stopped" if began else "new"
