"""`Run`: the output folder of a training job, and the only place that builds paths in it.

Imports no torch.

runs/<id>/
    resolved.json         the preset with every setting; a run can be restarted from this file alone
    order                 the run's position among the others, see engine.files.creation_order
    revisions.json        the revisions of the model's repositories, see engine.runs.model_revisions
    preflight.json        the results of the preflight checks
    metrics.jsonl         one line per log: {"step": 3, "loss": 0.69, ...}; a torn last line is ignored
    checkpoints/          checkpoint-<step>/ of the trainer, see engine.runs.checkpoint_series
    start/, start.json    the initial adapter, unless the run began with the base model, and what it was made of
    frozen/               the adapter under the trained one, where settings.frozen_adapter names one
    alarms.jsonl          one line per alarm, see engine.runs.results
    evaluation.json       metrics before and after training, see engine.runs.results
    prompts.jsonl, test_prompts.jsonl   prompts with pictures, see engine.runs.run_inputs
    pairs.jsonl           for a run on votes: the pairs of clips; lineage.json lists the votes
    adapter/              the trained weights of a finished run
    log.txt, process.json, attempts/   its training processes, see engine.execution.attempt

A run may be moved within its workspace. A workspace may be moved as a whole, with the training files in it.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from engine.config.presets import load_model_preset
from engine.config.prompts import PromptRow
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, StoreError
from engine.execution.attempt import last_line
from engine.families.exchange.exporting import write_format
from engine.families.lora_files import for_pipeline, has_weights, read_parts
from engine.families.registry import family_spec
from engine.files.atomic import new_folder, write_text_atomic
from engine.files.creation_order import newest_first, place_last
from engine.files.json_lines import MetricRow, append_line, metric_row, whole_lines
from engine.files.locks import is_held
from engine.files.path_property import PathProperty
from engine.runs.adapters import CARD
from engine.runs.checkpoint_series import CheckpointSeries, step_of
from engine.runs.results import Alarm, Evaluation
from engine.runs.run_inputs import freeze_prompts, preset_files, run_rows, set_adapters, with_files
from engine.workspace import Workspace, is_name

END_BYTES = 2**16  # the end of the metrics that `progress` reads: many rows


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
        start_scales: Mapping[str, float] | None = None,
        key: str | None = None,
    ) -> Self:
        """Create a run of a resolved preset that begins with the adapter in `start`, or the base model.

        `start_scales` names what it was made of, see `set_adapters`. `prepare` writes the run's other files. The preset
        is written last, and a folder without one is no run, so a process that dies in between leaves no run that could
        be started.

        Paths in the preset are stored as absolute paths, since the training process may start in another folder. Paths
        in the workspace are stored relative to the run's folder, so that both can be moved together.

        `key` identifies the request: a repeated call returns the run that the first one created. On failure no part of
        the run is left.
        """
        digits = hashlib.sha256(key.encode()).hexdigest()[:12] if key else secrets.token_hex(3)
        run = cls(workspace.runs / f"{preset.key}-{digits}")
        if key and run.resolved.is_file():
            return run
        try:
            with ExitStack() as undo:
                undo.callback(run.discard)
                run.folder.mkdir(parents=True, exist_ok=bool(key))
                preset = set_adapters(run, preset, start, start_scales)
                freeze_prompts(run.folder, workspace, preset)
                prepare(run)
                run.replace_preset(preset)  # the last: without it the folder is no run
                undo.pop_all()
        except OSError as error:
            raise StoreError(f"The run {run.folder} cannot be written: {error.strerror or error}.") from error
        return run

    def discard(self) -> None:
        """Remove a run that was created but could not be submitted."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def find(cls, workspace: Workspace, run_id: str) -> Self:
        """Return the run with this id. Raises ConfigError for an unknown id."""
        run = cls(workspace.runs / run_id)
        if not is_name(run_id) or not run.resolved.is_file():
            ids = ", ".join(run.id for run in list_runs(workspace)) or "none yet"
            raise ConfigError(f"There is no run '{run_id[:80]}' in this workspace; there are: {ids}.")
        return run

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def workspace(self) -> Workspace:
        """The run's workspace."""
        return Workspace(self.folder.parents[1])

    resolved = PathProperty(lambda self: self.folder / "resolved.json")
    metrics_file = PathProperty(lambda self: self.folder / "metrics.jsonl")
    external_rewards_file = PathProperty(lambda self: self.folder / "external_rewards.json")
    """Addresses, models and probe answers of the run's external rewards."""
    checkpoints = PathProperty(lambda self: self.folder / "checkpoints")
    adapter = PathProperty(lambda self: self.folder / "adapter")
    unfinished_adapter = PathProperty(lambda self: self.folder / "adapter.part")
    """The temporary folder of the adapter while it is written."""
    lock = PathProperty(lambda self: self.folder / "lock")
    """The lock held by the process that trains the run."""

    @property
    def is_training(self) -> bool:
        """True while a process trains the run, whether a job, a curriculum or a shell started it."""
        return is_held(self.lock)

    preflight = PathProperty(lambda self: self.folder / "preflight.json")
    log = PathProperty(lambda self: self.folder / "log.txt")
    start = PathProperty(lambda self: self.folder / "start")
    """The folder of the initial adapter; a missing folder means the base model."""
    start_file = PathProperty(lambda self: self.folder / "start.json")
    frozen = PathProperty(lambda self: self.folder / "frozen")
    """The folder of the adapter that stays as it is under the trained one; a missing folder means none."""
    alarms_file = PathProperty(lambda self: self.folder / "alarms.jsonl")
    notes_file = PathProperty(lambda self: self.folder / "notes.json")
    """Name and tags, see engine.runs.run_notes."""
    pairs_file = PathProperty(lambda self: self.folder / "pairs.jsonl")
    """The preferred and rejected clips of a run on votes, see engine.labelling.run_dataset."""
    lineage_file = PathProperty(lambda self: self.folder / "lineage.json")
    """The votes from which the pairs were made."""
    evaluation_file = PathProperty(lambda self: self.folder / "evaluation.json")

    def preset(self) -> TrainPreset:
        """Return the run's preset with absolute paths. Raises StoreError when the file is damaged."""
        try:
            preset = TrainPreset.model_validate_json(self.resolved.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.resolved} is damaged: {str(error).splitlines()[0]}") from error
        relative = {name: path for name, path in preset_files(preset).items() if path.parts[:1] == ("..",)}
        return with_files(preset, {name: (self.folder / path).resolve() for name, path in relative.items()})

    def rows(self, source: str) -> list[PromptRow]:
        """Return the prompts of `source`, with the pictures that the run was created with. Raises ConfigError."""
        return run_rows(self.folder, self.workspace, self.preset(), source)

    def last_line(self) -> str:
        """Return the last line of the training process's log; after a failure, its reason."""
        return last_line(self.folder)

    def replace_preset(self, preset: TrainPreset) -> None:
        """Replace the run's preset; only while no process trains the run."""
        known = preset_files(preset)
        files = {name: path for name, path in known.items() if path.exists() or path.parts[:1] == ("..",)}
        absolute = {name: path.resolve() for name, path in files.items()}
        root = self.workspace.root
        stored = {
            name: _relative(path, self.folder) if path.is_relative_to(root) else path for name, path in absolute.items()
        }
        preset = with_files(preset, stored)
        place_last(self.folder)
        write_text_atomic(self.resolved, preset.model_dump_json(indent=2) + "\n")

    @property
    def series(self) -> CheckpointSeries:
        """The run's checkpoints."""
        return CheckpointSeries(self.checkpoints)

    def last_checkpoint(self) -> Path | None:
        """Return the newest checkpoint with all its files; unlike `series.newest_whole`, without reading them."""
        checkpoints = self.series.listed()
        return checkpoints[-1] if checkpoints else None

    def superseded_checkpoints(self) -> list[Path]:
        """Return all checkpoints except the last."""
        return self.series.listed()[:-1]

    def weights(self) -> Path | None:
        """Return the folder of the run's current weights: the finished adapter, or the last checkpoint."""
        return self.adapter if self.adapter.is_dir() else self.last_checkpoint()

    @property
    def has_adapter(self) -> bool:
        """True when the finished run produced an adapter; False when it trained the whole network."""
        return has_weights(self.adapter)

    def adapter_weights(self) -> tuple[Path, int]:
        """Return the folder of the current adapter weights and their step.

        Raises ConfigError when nothing was saved yet, or when the run trains the whole network.
        """
        weights = self.weights()
        if weights is None:
            raise ConfigError(f"The run {self.id} has no checkpoint yet: wait for its first one.")
        if not has_weights(weights):
            raise ConfigError(
                f"The run {self.id} trained the whole network, so its result is a model, not an adapter: name "
                f"{weights} in a model preset's `parts`, as docs/adapters.md shows."
            )
        return weights, self.progress()[0] if weights == self.adapter else step_of(weights) or 0

    def export(self, folder: Path, form: str = "diffusers") -> list[str]:
        """Write trained weights in one of `exporting.FORMATS`, preset, evaluation and alarms to a new folder.

        Returns the names of the files. Raises ConfigError for an unfinished run that trains the whole network, and
        FamilyError when the weights cannot be read or have no such format; there is no folder then.
        """
        weights = self.weights()
        assert weights is not None, "the caller has checked that there are weights"
        is_adapter = has_weights(weights)
        if weights != self.adapter and not is_adapter:
            raise ConfigError(
                f"The run {self.id} trains the whole network, which it writes at its end: finish it first."
            )
        if not is_adapter and form != "diffusers":
            raise ConfigError(f"The run {self.id} has trained the whole network, not an adapter: leave --format out.")
        preset = self.preset()
        spec = family_spec(load_model_preset(preset.model).family)
        with new_folder(folder) as partial:
            if is_adapter:
                parts = for_pipeline(read_parts(weights), spec.network_part)
                write_format(partial, self.id, parts, spec, form)
            else:
                shutil.copytree(weights, partial, dirs_exist_ok=True)
            write_text_atomic(partial / self.resolved.name, preset.model_dump_json(indent=2) + "\n")
            for path in (weights / CARD, self.evaluation_file, self.alarms_file):
                if path.is_file():
                    shutil.copy2(path, partial)
        return sorted(path.name for path in folder.iterdir())

    def append_alarm(self, alarm: Alarm) -> None:
        append_line(self.alarms_file, alarm.model_dump_json())

    def alarms(self) -> list[Alarm]:
        """Return all alarms in order; unreadable lines are left out."""
        alarms = []
        for line in whole_lines(self.alarms_file):
            with suppress(ValueError):
                alarms.append(Alarm.model_validate_json(line))
        return alarms

    def save_evaluation(self, evaluation: Evaluation) -> None:
        write_text_atomic(self.evaluation_file, evaluation.model_dump_json(indent=2) + "\n")

    def evaluation(self) -> Evaluation | None:
        """Return the last evaluation; None when there is none. Raises StoreError when the file is damaged."""
        if not self.evaluation_file.is_file():
            return None
        try:
            return Evaluation.model_validate_json(self.evaluation_file.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.evaluation_file} is damaged: {str(error).splitlines()[0]}") from error

    def append_metrics(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line in a single write; values that are not finite numbers are left out."""
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
        append_line(self.metrics_file, json.dumps({"step": step, **numbers}))

    def metrics(self) -> list[MetricRow]:
        """Return all readable rows; a step that was logged twice, as after a resume, has its later values."""
        by_step: dict[float, MetricRow] = {}
        for row in filter(None, map(metric_row, whole_lines(self.metrics_file))):
            by_step.setdefault(row["step"], {}).update(row)
        return [by_step[step] for step in sorted(by_step)]

    def problems(self) -> list[str]:
        """Return a sentence for each unreadable file of the run. Reads all metrics."""
        problems = []
        try:
            self.preset()
        except StoreError as error:
            problems.append(str(error))
        if damaged := sum(metric_row(line) is None for line in whole_lines(self.metrics_file)):
            lines = "1 line" if damaged == 1 else f"{damaged:,} lines"
            problems.append(f"{lines} of {self.metrics_file} cannot be read and are left out.")
        return problems

    def progress(self) -> tuple[int, int]:
        """Return the last logged step and the total; 0 while unknown. Reads the end of the file only."""
        step = None
        for row in self._last_rows():
            step = int(row["step"]) if step is None else step
            if "of" in row:
                return step, int(row["of"])
        return step or 0, 0

    def last_value(self, metric: str) -> float | None:
        """Return the last logged value of a metric, None without one. Reads the end of the file only."""
        return next((row[metric] for row in self._last_rows() if metric in row), None)

    def _last_rows(self) -> Iterator[MetricRow]:
        """Yield the readable rows of the file's end, the last one first, parsed one at a time."""
        try:
            size = self.metrics_file.stat().st_size
        except OSError:
            return
        lines = list(whole_lines(self.metrics_file, max(0, size - END_BYTES)))
        yield from filter(None, map(metric_row, reversed(lines)))


def _relative(path: Path, folder: Path) -> Path:
    """Return the path relative to a folder, beginning with `..`, which marks stored relative paths."""
    return Path("..", os.path.relpath(path, folder.resolve().parent))


def list_runs(workspace: Workspace) -> list[Run]:
    """Return the runs of a workspace, the one with the newest preset first."""
    return [Run(path.parent) for path in newest_first(workspace.runs.glob("*/resolved.json"))]


def alarms_since(workspace: Workspace, seen: Mapping[str, int]) -> tuple[list[tuple[str, Alarm]], dict[str, int]]:
    """Return new alarms with the ids of their runs, and the new value of `seen`.

    `seen` maps a run to the number of bytes of its alarms that were read before; a missing run counts as 0.
    """
    alarms: list[tuple[str, Alarm]] = []
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
                    alarms.append((run.id, Alarm.model_validate_json(line)))
        now[run.id] = whole
    return alarms, now
