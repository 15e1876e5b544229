"""Rows of the Monitor's table of runs, and the settings in which selected runs differ."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.text.numbers import duration
from engine.config.presets import load_train_preset
from engine.config.schema import TrainPreset
from engine.errors import DailiesError
from engine.estimation.run_estimate import file_stamp
from engine.files.json_lines import MetricRow, metric_row, whole_lines
from engine.runs.metrics import MOMENT
from engine.runs.run import Run
from engine.runs.run_inputs import start_of
from engine.runs.run_notes import read_notes

TAIL_BYTES = 8 * 2**10
COMPARED_FIELDS = (
    "algorithm",
    "model",
    "mix",
    "rewards",
    "prompts",
    "pairs",
    "campaign",
    "min_margin",
    "judge",
    "judge_agreement",
    "watch",
)
REWARDS = ("reward", "samples/total")  # the first one that a run logs is its reward


class RunTable:
    """Facts about runs, cached until one of the files that they are read from changes. Not thread-safe."""

    def __init__(self) -> None:
        self._facts: dict[str, tuple[Any, dict[str, Any]]] = {}

    def facts(self, runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
        """Return the facts about runs by id: name, tags, preset, changed settings, last reward, duration."""
        return {run.id: self._of(run) for run in runs}

    def _of(self, run: Run) -> dict[str, Any]:
        version = [file_stamp(path) for path in (run.resolved, run.metrics_file, run.notes_file)]
        cached = self._facts.get(run.id)
        if cached is None or cached[0] != version:
            cached = self._facts[run.id] = version, _facts(run)
        return cached[1]


def digest(facts: Mapping[str, Any]) -> str:
    """Return a key of the facts: the browser names the ones that it has."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def differences(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the settings in which runs differ.

    Each has its name, and the value of each run as text ("" if it has none).
    """
    flat = [{**_start(run), **flat_settings(run.preset())} for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [{"name": name, "values": [settings.get(name, "") for settings in flat]} for name in names]
    return [row for row in rows if len(set(row["values"])) > 1]


def _start(run: Run) -> dict[str, str]:
    """Return the adapters that the run began with, as a setting; {} for none."""
    return {"start": begun} if (begun := start_of(run)) else {}


def flat_settings(preset: TrainPreset) -> dict[str, str]:
    """Return what a preset sets, as text by name."""
    fields = preset.model_dump(mode="json")
    own = {name: fields[name] for name in COMPARED_FIELDS if fields[name] not in (None, "")}
    alarms = {f"alarms.{name}": value for name, value in fields["alarms"].items()}
    return {name: _text(value) for name, value in {**own, **fields["settings"], **alarms}.items()}


def _facts(run: Run) -> dict[str, Any]:
    notes = read_notes(run)
    facts: dict[str, Any] = {"name": notes.name, "tags": list(notes.tags), "text": notes.text}
    facts |= {"algorithm": "", "model": "", "changed": []}
    try:
        preset = run.preset()
    except DailiesError:
        return {**facts, **_progress(run)}
    facts |= {
        "algorithm": preset.algorithm,
        "model": preset.model,
        "changed": [*(f"{name} = {value}" for name, value in _start(run).items()), *_changed(preset)],
    }
    return {**facts, **_progress(run)}


def _changed(preset: TrainPreset) -> list[str]:
    """Return the settings that differ from the preset of the run's name, as "name = value".

    Return none if the preset is gone.
    """
    try:
        before = flat_settings(load_train_preset(preset.key))
    except DailiesError:
        return []
    return [f"{name} = {value}" for name, value in flat_settings(preset).items() if before.get(name, "") != value]


def _progress(run: Run) -> dict[str, Any]:
    """Return last step, last reward and duration, from the first line and the end of the metrics."""
    size = file_stamp(run.metrics_file)[0]
    rows = list(filter(None, map(metric_row, whole_lines(run.metrics_file, max(0, size - TAIL_BYTES)))))
    first = metric_row(next(whole_lines(run.metrics_file), b""))
    step, of = (_last(rows, name) for name in ("step", "of"))
    reward = next((value for name in REWARDS if (value := _last(rows, name)) is not None), None)
    begun, ended = first.get(MOMENT) if first else None, _last(rows, MOMENT)
    seconds = ended - begun if begun is not None and ended is not None else None
    return {
        "step": f"{step:.0f}{f'/{of:.0f}' if of else ''}" if step is not None else "",
        "reward": reward,
        "seconds": seconds,
        "duration": duration(seconds) if seconds is not None else "",
    }


def _last(rows: Sequence[MetricRow], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if name in row), None)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value) if not isinstance(value, str) else value
