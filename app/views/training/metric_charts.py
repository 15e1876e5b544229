"""Metric curves of runs for the browser: new points only, downsampled, as packed 32-bit floats.

The server caches the metrics of each run. The bytes read in one answer are limited, so that a run with a huge file does
not delay the others.
"""

import base64
import threading
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np

from app.context import AppContext
from app.text import monitor as text
from app.views.scores import reward_titles
from app.views.training.preset_facts import per_update, values_of
from app.views.training.run_table import RunTable, digest
from engine.errors import DailiesError
from engine.jobs.runs.run_actions import last_fallback
from engine.jobs.spec import UNFINISHED
from engine.runs.metrics import CHUNK_BYTES, MOMENT, MetricStore, downsample
from engine.runs.purge import deleted_runs
from engine.runs.run import Run, list_runs
from engine.runs.samples import RunSamples

GROUPS: Mapping[str, tuple[str, ...]] = {
    "trained": ("reward", "rewards/*/mean", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/acc*"),
    "held_out": ("watch/*", "held_out/*", "judge*", "motion", "diversity", "drift", "eval_*"),
    "monitor": ("monitor/*",),
    "samples_held_out": ("samples/held_out/*",),
    "samples": ("samples/*",),
    "loss": ("loss", "kl", "kl/*", "nft/*", "awm/*", "error/*"),
    "policy": ("ratio/*", "clip_ratio*", "reward_std", "rewards/*/std", "frac_*", "advantage*"),
    "optimiser": ("grad_norm", "learning_rate"),
    "pace": ("time/*",),
    "memory": ("memory/*",),
    "other": ("*",),
}
HIDDEN = (MOMENT, "of", "epoch", "total_flos", "train_*", "num_tokens", "num_input_tokens_seen")
LISTED = 200  # runs
POINTS_A_CHART, LEAST_POINTS, MOST_POINTS = 9000, 60, 600
READ_BYTES = 12 * 2**20  # per answer, over all runs


class CurveFeed:
    """Incremental source of the Monitor's curves. One instance serves all browsers."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._columns: dict[str, MetricStore] = {}
        self._table = RunTable()
        self._alarms: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._lock = threading.Lock()

    def news(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is new for a `request`, with the list of runs.

        `request` has the `runs` to draw (None: choose), the `axis`, `have` = {run: [epoch, step]}, `looked`, the run
        whose samples are shown, and `facts`, the digest of the table that the browser has: it is sent if it differs.
        """
        with self._lock:
            runs = {run.id: run for run in list_runs(self._context.workspace)[:LISTED]}
            jobs = self.jobs()
            run_ids = request.get("runs")
            chosen = self._first(runs, jobs) if run_ids is None else [name for name in run_ids if name in runs]
            left = self._read(runs, chosen)
            series = {name: self._series(runs[name], request, len(chosen)) for name in chosen}
            looked = request.get("looked") if request.get("looked") in runs else next(iter(runs), None)
            facts = self._table.facts(runs.values())
            known = digest(facts)
            return {
                "runs": [self._card(run, jobs, facts[run.id]["step"]) for run in runs.values()],
                "facts": facts if request.get("facts") != known else None,
                "digest": known,
                "chosen": chosen,
                "looked": looked,
                "sets": self._version(runs[looked], jobs) if looked else "",
                "groups": grouped({name for run in chosen for name in self._columns[run].columns}),
                "series": {name: points for name, points in series.items() if points},
                "alarms": {name: self._alarms_of(runs[name]) for name in chosen},
                "left": left,
                "deleted": deleted_runs(self._context.workspace),
                "empty": None if runs else empty(),
            }

    def points(self, request: Mapping[str, Any]) -> dict[str, list[list[float]]]:
        """Return all points, not downsampled, of the metric `name` of each run, as [positions, values].

        `axis` is "time" (minutes since the first step), "clips" or "step". Runs without this metric are omitted.
        """
        name = str(request.get("name"))
        series: dict[str, list[list[float]]] = {}
        with self._lock:
            runs = {run.id: run for run in list_runs(self._context.workspace)[:LISTED]}
            for run in (run_id for run_id in request.get("runs") or () if run_id in runs):
                while self._read(runs, [run]):
                    pass
                columns = self._columns[run]
                if name in columns.columns:
                    steps, values = columns.columns[name].points()
                    places = _places(runs[run], columns, request.get("axis"), steps)
                    series[run] = [places.tolist(), values.tolist()]
        return series

    def jobs(self) -> dict[str, str]:
        """Return the status of the active job of each run that has one."""
        return {job.config["run"]: job.status for job in self._context.queue.list(UNFINISHED, "train", limit=None)}

    def state(self, run: Run, jobs: Mapping[str, str]) -> str:
        """Return the state of a run, a key of `text.STATES`."""
        if run.is_training:
            return "running"
        status = jobs.get(run.id)
        if status is not None and status != "queued":
            return "running"
        return "done" if run.adapter.is_dir() else "queued" if status else "stopped"

    def _version(self, run: Run, jobs: Mapping[str, str]) -> str:
        """Return a word that changes when a run has more samples, and when its adapter is ready at its end."""
        return f"{len(RunSamples(run).names())} {self.state(run, jobs)}"

    def _first(self, runs: Mapping[str, Run], jobs: Mapping[str, str]) -> list[str]:
        """Return the runs to draw by default: those that are training, or else the newest."""
        return [name for name in runs if jobs.get(name) in ("running", "stopping")] or list(runs)[:1]

    def _read(self, runs: Mapping[str, Run], chosen: Sequence[str]) -> int:
        """Read new metrics of the chosen runs. Return the number of bytes left for the next call."""
        left, budget = 0, READ_BYTES
        for name in chosen:
            if name not in self._columns:
                self._columns[name] = MetricStore(runs[name])
            unread = 1
            while unread and budget > 0:
                unread = self._columns[name].read_new(CHUNK_BYTES)
                budget -= CHUNK_BYTES if unread else 0
            left += unread
        return left

    def _series(self, run: Run, request: Mapping[str, Any], runs: int) -> dict[str, Any] | None:
        """Return the points of a run that the browser does not have, None if it has all."""
        columns = self._columns[run.id]
        epoch, step = (request.get("have") or {}).get(run.id, (None, -1.0))
        is_same_epoch = epoch == columns.epoch
        after = float(step) if is_same_epoch else -1.0
        max_points = int(np.clip(POINTS_A_CHART // max(1, runs), LEAST_POINTS, MOST_POINTS))
        data = {}
        for name, column in columns.columns.items():
            if _hidden(name) or column.last_step <= after:
                continue
            steps, values = downsample(*column.points(after), max_points)
            data[name] = [_packed(_places(run, columns, request.get("axis"), steps)), _packed(values)]
        if not data and is_same_epoch:
            return None
        return {"epoch": columns.epoch, "step": columns.last_step, "whole": not is_same_epoch, "data": data}

    def _card(self, run: Run, jobs: Mapping[str, str], logged: str) -> dict[str, Any]:
        """Return a run's state; `where` is its step, as `logged` while its curves are not drawn."""
        columns = self._columns.get(run.id)
        state = self.state(run, jobs)
        of = columns.last("of") if columns else None
        where = f"{columns.last_step:.0f}{f'/{of:.0f}' if of else ''}" if columns and columns.columns else logged
        if columns and columns.damaged:
            where = f"{where} {text.damaged(columns.damaged)}".strip()
        if note := last_fallback(run):
            where = f"{where}. {note}" if where else note
        return {"id": run.id, "state": state, "state_text": text.STATES[state], "where": where}

    def _alarms_of(self, run: Run) -> list[dict[str, Any]]:
        size = run.alarms_file.stat().st_size if run.alarms_file.is_file() else 0
        cached = self._alarms.get(run.id)
        if cached is None or cached[0] != size:
            alarms = [alarm.model_dump(include={"step", "name", "sentence", "action"}) for alarm in run.alarms()]
            moments = _moments(self._columns[run.id])
            clips = clips_per_update(run)
            timed = [
                {
                    **alarm,
                    "time": float(np.interp(alarm["step"], *moments)) if moments else 0.0,
                    "clips": alarm["step"] * clips,
                }
                for alarm in alarms
            ]
            self._alarms[run.id] = (size, timed)
        return self._alarms[run.id][1]


def grouped(names: set[str]) -> list[dict[str, Any]]:
    """Assign every metric to the first group that matches it; keep the order of groups and metrics."""
    metrics_by_group: dict[str, list[str]] = {key: [] for key in GROUPS}
    for name in sorted(names):
        if not _hidden(name):
            metrics_by_group[next(key for key, patterns in GROUPS.items() if _like(name, patterns))].append(name)
    order, rewards = list(text.METRICS), reward_titles()

    def rank(name: str) -> tuple[int, str]:
        return (order.index(name) if name in order else len(order), name)

    return [
        {
            "key": key,
            "title": text.GROUPS[key],
            "charts": [{"name": name, "title": text.metric(name, rewards)} for name in sorted(metrics, key=rank)],
        }
        for key, metrics in metrics_by_group.items()
        if metrics
    ]


def empty() -> dict[str, str]:
    title, hint = text.NO_RUNS
    return {"title": title, "hint": hint}


def _hidden(name: str) -> bool:
    return _like(name, HIDDEN)


def _like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _moments(columns: MetricStore) -> tuple[np.ndarray, np.ndarray] | None:
    """Return steps and the minutes since the first one, None for a run without timestamps.

    Minutes never decrease: after the clock was set back, a resumed run continues at the last value.
    """
    column = columns.columns.get(MOMENT)
    if column is None or not len(column):
        return None
    steps, at = column.points()
    passed_s = np.maximum(np.diff(at, prepend=at[0]), 0.0)
    return steps, np.cumsum(passed_s) / 60


def clips_per_update(run: Run) -> int:
    """Return the clips, or pairs, of one process in an update; 1 if the run's preset is damaged."""
    try:
        return per_update(values_of(run.preset()))
    except DailiesError:
        return 1


def _places(run: Run, columns: MetricStore, axis: Any, steps: np.ndarray) -> np.ndarray:
    """Return the positions of steps on an axis: minutes, clips, or the steps themselves."""
    moments = _moments(columns) if axis == "time" else None
    if moments is not None:
        return np.interp(steps, *moments)
    return steps * clips_per_update(run) if axis == "clips" else steps


def _packed(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()
