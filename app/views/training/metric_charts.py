"""The runs' curves as the browser gets them: only what is new, thinned out, as packed 32-bit floats.

The page's server keeps what it has read of each run; how much it reads at once is bounded, so that a run with a huge
file does not keep the others waiting.
"""

import base64
import threading
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np

from app.context import AppContext
from app.text import monitor as text
from engine.jobs.handlers.run_actions import last_fallback
from engine.jobs.spec import Status
from engine.runs.metrics import CHUNK_BYTES, MOMENT, MetricStore, downsample
from engine.runs.run import Run, list_runs
from engine.runs.samples import RunSamples

GROUPS: Mapping[str, tuple[str, ...]] = {
    "trained": ("reward", "rewards/*/mean", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/acc*"),
    "held_out": ("watch/*", "held_out/*", "judge*", "motion", "diversity", "drift", "eval_*"),
    "monitor": ("monitor/*",),
    "samples_held_out": ("samples/held_out/*",),
    "samples": ("samples/*",),
    "loss": ("loss", "kl", "kl/*", "nft/*", "error/*"),
    "policy": ("ratio/*", "clip_ratio*", "reward_std", "rewards/*/std", "frac_*", "advantage*"),
    "optimiser": ("grad_norm", "learning_rate"),
    "pace": ("time/*",),
    "memory": ("memory/*",),
    "other": ("*",),
}
HIDDEN = (MOMENT, "of", "epoch", "total_flos", "train_*", "num_tokens", "num_input_tokens_seen")
LISTED = 200  # runs
POINTS_A_CHART, LEAST_POINTS, MOST_POINTS = 9000, 60, 600
READ_BYTES = 12 * 2**20  # in one answer, over all runs
ALIVE: tuple[Status, ...] = ("queued", "running", "stopping")


class CurveFeed:
    """Answers the Monitor's question: what is new? One for the whole page."""

    def __init__(self, desk: AppContext) -> None:
        self._desk = desk
        self._columns: dict[str, MetricStore] = {}
        self._alarms: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._lock = threading.Lock()

    def news(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """`asked`: `runs` to draw (None: choose), `axis`, `have` = {run: [epoch, step]}, and the run `looked` at."""
        with self._lock:
            runs = {run.id: run for run in list_runs(self._desk.workspace)[:LISTED]}
            jobs = self.jobs()
            wanted = asked.get("runs")
            chosen = self._first(runs, jobs) if wanted is None else [name for name in wanted if name in runs]
            left = self._read(runs, chosen)
            series = {name: self._series(name, asked, len(chosen)) for name in chosen}
            looked = asked.get("looked") if asked.get("looked") in runs else next(iter(runs), None)
            return {
                "runs": [self._card(run, jobs) for run in runs.values()],
                "chosen": chosen,
                "looked": looked,
                "sets": len(RunSamples(runs[looked]).names()) if looked else 0,
                "groups": grouped({name for run in chosen for name in self._columns[run].columns}),
                "series": {name: found for name, found in series.items() if found},
                "alarms": {name: self._alarms_of(runs[name]) for name in chosen},
                "left": left,
                "empty": None if runs else empty(),
            }

    def points(self, asked: Mapping[str, Any]) -> dict[str, list[list[float]]]:
        """Every point of the metric `name` of each of the `runs`, as [places, values]: what `news` thins out.

        `axis` is "time" (minutes since the first step) or "step"; a run without this metric is left out.
        """
        name = str(asked.get("name"))
        found: dict[str, list[list[float]]] = {}
        with self._lock:
            runs = {run.id: run for run in list_runs(self._desk.workspace)[:LISTED]}
            for run in (one for one in asked.get("runs") or () if one in runs):
                while self._read(runs, [run]):
                    pass
                columns = self._columns[run]
                if name in columns.columns:
                    steps, values = columns.columns[name].points()
                    moments = _moments(columns) if asked.get("axis") == "time" else None
                    places = steps if moments is None else np.interp(steps, *moments)
                    found[run] = [places.tolist(), values.tolist()]
        return found

    def jobs(self) -> dict[str, str]:
        """The runs that a job waits for or works on, with the job's status."""
        return {job.config["run"]: job.status for job in self._desk.queue.list(ALIVE, "train", limit=LISTED)}

    def state(self, run: Run, jobs: Mapping[str, str]) -> str:
        """`text.STATES`' keys."""
        if run.is_trained:
            return "running"
        status = jobs.get(run.id)
        if status is not None and status != "queued":
            return "running"
        return "done" if run.adapter.is_dir() else "queued" if status else "stopped"

    def _first(self, runs: Mapping[str, Run], jobs: Mapping[str, str]) -> list[str]:
        """What is drawn before anybody chose: what trains now, or else the newest."""
        return [name for name in runs if jobs.get(name) in ("running", "stopping")] or list(runs)[:1]

    def _read(self, runs: Mapping[str, Run], chosen: Sequence[str]) -> int:
        """Read on in the chosen runs; bytes that are left unread for the next time."""
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

    def _series(self, run: str, asked: Mapping[str, Any], runs: int) -> dict[str, Any] | None:
        """The points of one run that the browser does not have; None when it has all."""
        columns = self._columns[run]
        epoch, step = (asked.get("have") or {}).get(run, (None, -1.0))
        known = epoch == columns.epoch
        after = float(step) if known else -1.0
        most = int(np.clip(POINTS_A_CHART // max(1, runs), LEAST_POINTS, MOST_POINTS))
        moments = _moments(columns) if asked.get("axis") == "time" else None
        data = {}
        for name, column in columns.columns.items():
            if _hidden(name) or column.last_step <= after:
                continue
            steps, values = downsample(*column.points(after), most)
            data[name] = [_packed(steps if moments is None else np.interp(steps, *moments)), _packed(values)]
        if not data and known:
            return None
        return {"epoch": columns.epoch, "step": columns.last_step, "whole": not known, "data": data}

    def _card(self, run: Run, jobs: Mapping[str, str]) -> dict[str, Any]:
        columns = self._columns.get(run.id)
        state = self.state(run, jobs)
        of = columns.last("of") if columns else None
        where = f"{columns.last_step:.0f}{f'/{of:.0f}' if of else ''}" if columns and columns.columns else ""
        if columns and columns.damaged:
            where = f"{where} {text.damaged(columns.damaged)}".strip()
        if note := last_fallback(run):
            where = f"{where}. {note}" if where else note
        return {"id": run.id, "state": state, "state_text": text.STATES[state], "where": where}

    def _alarms_of(self, run: Run) -> list[dict[str, Any]]:
        size = run.alarms_file.stat().st_size if run.alarms_file.is_file() else 0
        before = self._alarms.get(run.id)
        if before is None or before[0] != size:
            found = [one.model_dump(include={"step", "name", "sentence", "action"}) for one in run.alarms()]
            moments = _moments(self._columns[run.id])
            timed = [{**one, "time": float(np.interp(one["step"], *moments)) if moments else 0.0} for one in found]
            self._alarms[run.id] = (size, timed)
        return self._alarms[run.id][1]


def grouped(names: set[str]) -> list[dict[str, Any]]:
    """Every metric in the first group that takes it, groups and metrics in their order."""
    charts: dict[str, list[str]] = {key: [] for key in GROUPS}
    for name in sorted(names):
        if not _hidden(name):
            charts[next(key for key, patterns in GROUPS.items() if _like(name, patterns))].append(name)
    order = list(text.METRICS)

    def rank(name: str) -> tuple[int, str]:
        return (order.index(name) if name in order else len(order), name)

    return [
        {
            "key": key,
            "title": text.GROUPS[key],
            "charts": [{"name": name, "title": text.metric(name)} for name in sorted(found, key=rank)],
        }
        for key, found in charts.items()
        if found
    ]


def empty() -> dict[str, str]:
    title, hint = text.NO_RUNS
    return {"title": title, "hint": hint}


def _hidden(name: str) -> bool:
    return _like(name, HIDDEN)


def _like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _moments(columns: MetricStore) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and the minutes since the first of them; None for a run that does not tell the time.

    Minutes never fall: a process that resumed after the clock was set back goes on where the last one ended.
    """
    column = columns.columns.get(MOMENT)
    if column is None or not len(column):
        return None
    steps, at = column.points()
    passed_s = np.maximum(np.diff(at, prepend=at[0]), 0.0)
    return steps, np.cumsum(passed_s) / 60


def _packed(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()
