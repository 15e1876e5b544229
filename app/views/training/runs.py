"""The list of runs of the Train tab."""

import time
from collections.abc import Collection
from typing import Any

from app.context import AppContext
from app.text import training
from app.text.numbers import size
from app.views.clips import moment
from engine.files.log_tail import read_log
from engine.jobs.handlers.preflight import read_verdicts
from engine.jobs.runs.run_actions import RunState, run_states
from engine.jobs.worker_control import reconcile_and_ensure_worker
from engine.runs.adapters import newest_of_runs
from engine.runs.run import Run
from engine.runs.run_notes import read_notes


def run_list(context: AppContext) -> dict[str, Any]:
    """Return the value of a `RunList`. `at` lets the browser drop answers that arrive out of order."""
    at = time.monotonic()
    reconcile_and_ensure_worker(context.queue)
    usable = newest_of_runs(context.workspace)
    return {"runs": [run_row(state, usable) for state in run_states(context.queue)], "at": at}


def run_row(state: RunState, usable: Collection[str]) -> dict[str, Any]:
    """Return one run of the list; `fraction` is 0..1 or None. `usable` are the runs with an adapter."""
    done = min(1.0, state.step / state.of) if state.of else None
    active = state.job is not None and not state.job.is_over
    outside = training.OUTSIDE if state.state == "training" and not active else ""
    return {
        "id": state.run.id,
        "title": read_notes(state.run).name or (state.preset.title if state.preset else state.run.id),
        "state": state.state,
        "words": training.STATES[state.state],
        "where": f"{state.step} / {state.of}" if state.of else "",
        "fraction": done,
        "updates": state.of or 1,
        "problem": state.problem or outside or state.note,
        "job": state.job.id if state.job and active else "",
        "can_resume": state.can_resume,
        "can_extend": state.can_extend,
        "can_clone": state.preset is not None,
        "can_use": state.run.id in usable,
        "when": moment(state.job.created_at) if state.job else "",
    }


def log(context: AppContext, run_id: str, word: str) -> dict[str, Any]:
    """Return the end of a run's log, or its lines that contain `word`, with the run's preflight checks."""
    run = Run.find(context.workspace, run_id)
    part = read_log(run.log, word)
    verdicts = [{"name": row.name, "level": row.level, "sentence": row.sentence} for row in read_verdicts(run)]
    shown = part.size - part.skipped_bytes
    sizes = {"shown": size(shown), "size": size(part.size)} if part.skipped_bytes else None
    return {"id": run_id, "lines": "\n".join(part.lines), "part": sizes, "verdicts": verdicts}
