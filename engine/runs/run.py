"""Runs: the folder that a training job fills, and the only place that builds paths inside one. Imports no torch.

runs/<id>/
    resolved.json         what was asked for, every setting with its value; a run starts again from this file alone
    order                 the run's place among the others, see engine.files.creation_order
    revisions.json        the revisions of the model's repositories, see engine.runs.model_revisions
    preflight.json        the verdicts before it began
    metrics.jsonl         one line a log: {"step": 3, "loss": 0.69, ...}; a torn last line is ignored
    checkpoints/          checkpoint-<step>/ of the trainer, see engine.runs.checkpoint_series
    start/                the adapter that it began with, if it did not begin with the base model
    alarms.jsonl          one line an alarm, see engine.runs.results
    evaluation.json       the measured difference that it made, see engine.runs.results
    pairs.jsonl           of a run on votes: the pairs of clips, and in lineage.json the votes that they come from
    adapter/              the trained weights, once the run is over
    log.txt, process.json, attempts/   its training processes, see engine.execution.attempt

A run may be moved within its workspace, and a workspace as a whole, with the files in it that its runs learn from.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from engine.config.schema import TrainPreset
from engine.errors import ConfigError, StoreError
from engine.execution.attempt import last_line
from engine.families.lora_files import WEIGHT_FILES, for_pipeline, has_weights, read_parts, write_parts
from engine.files.atomic import write_text_atomic
from engine.files.creation_order import newest_first, place_last
from engine.files.json_lines import MetricRow, append_line, metric_row, whole_lines
from engine.files.locks import is_held
from engine.runs.adapters import CARD
from engine.runs.checkpoint_series import CheckpointSeries, step_of
from engine.runs.results import Alarm, Evaluation
from engine.workspace import Workspace

END_BYTES = 2**16  # of the metrics: many rows


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and its paths."""

    folder: Path

    @classmethod
    def create(
        cls,
        workspace: Workspace,
        preset: TrainPreset,
        start: Path | None = None,
        prepare: "Callable[[Run], None]" = lambda run: None,
        *,
        key: str | None = None,
    ) -> Self:
        """A new run of a resolved preset; it begins with the adapter in the folder `start`, or the base model.

        `prepare` writes what else the run needs. The preset is written last, and a folder without one is no run: a
        process that dies in between leaves nothing that could be started.

        Files that the preset names are noted with their whole paths, for the process that trains may start elsewhere;
        those of the workspace by the way to them from the run's folder, so that they can be moved together.

        `key` names the request: sent again, it returns the run that it created. When anything fails nothing of the run
        is left.
        """
        digits = hashlib.sha256(key.encode()).hexdigest()[:12] if key else secrets.token_hex(3)
        run = cls(workspace.runs / f"{preset.key}-{digits}")
        if key and run.resolved.is_file():
            return run
        try:
            with ExitStack() as undo:
                undo.callback(run.discard)
                run.folder.mkdir(parents=True, exist_ok=bool(key))
                if start is not None:
                    run.set_initial_adapter(start)
                prepare(run)
                run.replace_preset(preset)  # the last: without it the folder is no run
                undo.pop_all()
        except OSError as error:
            raise StoreError(f"The run {run.folder} cannot be written: {error.strerror or error}.") from error
        return run

    def discard(self) -> None:
        """Remove a run that was created and could not be filed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def find(cls, workspace: Workspace, run_id: str) -> Self:
        """Raises ConfigError when the workspace has no such run."""
        run = cls(workspace.runs / run_id)
        if run_id != Path(run_id).name or not run.resolved.is_file():
            known = ", ".join(one.id for one in list_runs(workspace)) or "none yet"
            raise ConfigError(f"There is no run '{run_id[:80]}' in this workspace; there are: {known}.")
        return run

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def workspace(self) -> Workspace:
        """The one that it lies in."""
        return Workspace(self.folder.parents[1])

    @property
    def resolved(self) -> Path:
        return self.folder / "resolved.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def unfinished_adapter(self) -> Path:
        """Where the adapter is written before it is given its place."""
        return self.folder / "adapter.part"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run."""
        return self.folder / "lock"

    @property
    def is_trained(self) -> bool:
        """Whether a process trains it now, whoever started that: a job, a curriculum, or somebody in a shell."""
        return is_held(self.lock)

    @property
    def preflight(self) -> Path:
        return self.folder / "preflight.json"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def start(self) -> Path:
        """The adapter to begin with; a folder that is not there means the base model."""
        return self.folder / "start"

    @property
    def alarms_file(self) -> Path:
        return self.folder / "alarms.jsonl"

    @property
    def pairs_file(self) -> Path:
        """The preferred and rejected clips of a run on votes, see engine.labelling.run_dataset."""
        return self.folder / "pairs.jsonl"

    @property
    def lineage_file(self) -> Path:
        """Which votes they come from."""
        return self.folder / "lineage.json"

    @property
    def evaluation_file(self) -> Path:
        return self.folder / "evaluation.json"

    def preset(self) -> TrainPreset:
        """What was asked for, its files by whole paths. Raises StoreError when the file is damaged."""
        try:
            preset = TrainPreset.model_validate_json(self.resolved.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.resolved} is damaged: {str(error).splitlines()[0]}") from error
        near = {name: path for name, path in _files(preset).items() if path.parts[:1] == ("..",)}
        return preset.model_copy(update={name: str((self.folder / path).resolve()) for name, path in near.items()})

    def set_initial_adapter(self, adapter: Path) -> None:
        """Begin with the weights in this folder."""
        shutil.copytree(
            adapter, self.start, ignore=lambda folder, names: set(names) - set(WEIGHT_FILES), dirs_exist_ok=True
        )

    def last_line(self) -> str:
        """The last that the training process said: where it failed, why."""
        return last_line(self.folder)

    def replace_preset(self, preset: TrainPreset) -> None:
        """Ask for something else from now on; only while nobody trains the run."""
        files = {name: path for name, path in _files(preset).items() if path.exists() or path.parts[:1] == ("..",)}
        whole = {name: path.resolve() for name, path in files.items()}
        root = self.workspace.root
        noted = {name: _way(path, self.folder) if path.is_relative_to(root) else path for name, path in whole.items()}
        preset = preset.model_copy(update={name: str(path) for name, path in noted.items()})
        place_last(self.folder)
        write_text_atomic(self.resolved, preset.model_dump_json(indent=2) + "\n")

    @property
    def series(self) -> CheckpointSeries:
        """The checkpoints, of which `last_checkpoint` is the newest."""
        return CheckpointSeries(self.checkpoints)

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint with all its files; `series.newest_whole` also reads them."""
        found = self.series.listed()
        return found[-1] if found else None

    def superseded_checkpoints(self) -> list[Path]:
        """All but that one."""
        return self.series.listed()[:-1]

    def weights(self) -> Path | None:
        """The folder that holds the run's adapter as it is now: finished, or of the last checkpoint."""
        return self.adapter if self.adapter.is_dir() else self.last_checkpoint()

    @property
    def has_adapter(self) -> bool:
        """Whether a finished run came to an adapter; if not, the whole network was trained."""
        return has_weights(self.adapter)

    def adapter_weights(self) -> tuple[Path, int]:
        """That folder and the step that its weights are of. Raises ConfigError where there is no adapter to put onto
        the model: nothing was saved yet, or the whole network was trained."""
        weights = self.weights()
        if weights is None:
            raise ConfigError(f"The run {self.id} has no checkpoint yet: wait for its first one.")
        if not has_weights(weights):
            raise ConfigError(
                f"The run {self.id} trained the whole network, so it came to a model, not an adapter: name {weights} "
                "in a model preset's `parts`, as docs/adapters.md shows."
            )
        return weights, self.progress()[0] if weights == self.adapter else step_of(weights) or 0

    def export(self, folder: Path) -> list[str]:
        """Write the trained weights in the form that diffusers reads, the recipe, the evaluation and the alarms to a
        new folder; returns the names of the files. Raises ConfigError for a run that trains the whole network and is
        not finished, FamilyError when the weights cannot be read.
        """
        weights = self.weights()
        assert weights is not None, "the caller has seen that there are weights"
        if weights != self.adapter and not has_weights(weights):
            raise ConfigError(
                f"The run {self.id} trains the whole network, which it writes at its end: finish it first."
            )
        preset = self.preset()
        parts = for_pipeline(read_parts(weights), _network_part(preset)) if has_weights(weights) else {}
        if parts:
            folder.mkdir(parents=True)
        else:
            shutil.copytree(weights, folder)
        write_text_atomic(folder / self.resolved.name, preset.model_dump_json(indent=2) + "\n")
        found = [weights / CARD, self.evaluation_file, self.alarms_file]
        write_parts(folder, parts)
        for path in (path for path in found if path.is_file()):
            shutil.copy2(path, folder)
        return sorted(path.name for path in folder.iterdir())

    def append_alarm(self, alarm: Alarm) -> None:
        append_line(self.alarms_file, alarm.model_dump_json())

    def alarms(self) -> list[Alarm]:
        """Every alarm so far, in order; a line that cannot be read is left out."""
        found = []
        for line in whole_lines(self.alarms_file):
            with suppress(ValueError):
                found.append(Alarm.model_validate_json(line))
        return found

    def save_evaluation(self, evaluation: Evaluation) -> None:
        write_text_atomic(self.evaluation_file, evaluation.model_dump_json(indent=2) + "\n")

    def evaluation(self) -> Evaluation | None:
        """The last evaluation, or None when there is none. Raises StoreError when the file is damaged."""
        if not self.evaluation_file.is_file():
            return None
        try:
            return Evaluation.model_validate_json(self.evaluation_file.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.evaluation_file} is damaged: {str(error).splitlines()[0]}") from error

    def append_metrics(self, step: int, values: Mapping[str, Any]) -> None:
        """One line, written at once; what is no finite number is left out."""
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
        append_line(self.metrics_file, json.dumps({"step": step, **numbers}))

    def metrics(self) -> list[MetricRow]:
        """All rows that can be read; of a step that was logged twice, as after a resume, the later."""
        by_step: dict[float, MetricRow] = {}
        for row in filter(None, map(metric_row, whole_lines(self.metrics_file))):
            by_step.setdefault(row["step"], {}).update(row)
        return [by_step[step] for step in sorted(by_step)]

    def problems(self) -> list[str]:
        """What of the run's own files cannot be read, a sentence each. Reads all metrics."""
        found = []
        try:
            self.preset()
        except StoreError as error:
            found.append(str(error))
        if damaged := sum(metric_row(line) is None for line in whole_lines(self.metrics_file)):
            lines = "1 line" if damaged == 1 else f"{damaged:,} lines"
            found.append(f"{lines} of {self.metrics_file} cannot be read and are left out.")
        return found

    def progress(self) -> tuple[int, int]:
        """The step that was logged last, and of how many; 0 while nobody knows. Reads the end of the file only."""
        try:
            size = self.metrics_file.stat().st_size
        except OSError:
            return 0, 0
        step = of = 0
        for row in filter(None, map(metric_row, whole_lines(self.metrics_file, max(0, size - END_BYTES)))):
            step, of = int(row["step"]), int(row.get("of", of))
        return step, of


def _files(preset: TrainPreset) -> dict[str, Path]:
    """What the preset names as files or folders; prompts may also be named by a key, which is no file."""
    named = {name: getattr(preset, name) for name in ("pairs", "prompts", "test_prompts")}
    return {name: Path(value) for name, value in named.items() if value and (name == "pairs" or Path(value).suffix)}


def _network_part(preset: TrainPreset) -> str:
    """What diffusers' pipelines call the network that the run trains."""
    from engine.config.presets import load_model_preset
    from engine.families.registry import family_spec

    return family_spec(load_model_preset(preset.model).family).network_part


def _way(path: Path, folder: Path) -> Path:
    """From a folder to a path, beginning with `..` by which it is known."""
    return Path("..", os.path.relpath(path, folder.resolve().parent))


def list_runs(workspace: Workspace) -> list[Run]:
    """The runs of a workspace; those come first whose preset was written last."""
    return [Run(path.parent) for path in newest_first(workspace.runs.glob("*/resolved.json"))]


def alarms_since(workspace: Workspace, seen: Mapping[str, int]) -> tuple[list[tuple[str, Alarm]], dict[str, int]]:
    """Alarms with their runs' ids that were raised since somebody looked, and what that somebody has seen then.

    That is, by run, how many bytes of its alarms; a run that is not named has shown nothing yet.
    """
    found: list[tuple[str, Alarm]] = []
    now: dict[str, int] = {}
    for run in list_runs(workspace):
        if not run.alarms_file.is_file():
            continue
        with run.alarms_file.open("rb") as file:
            file.seek(min(seen.get(run.id, 0), file.seek(0, os.SEEK_END)))
            whole = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                with suppress(ValueError):
                    found.append((run.id, Alarm.model_validate_json(line)))
        now[run.id] = whole
    return found, now
