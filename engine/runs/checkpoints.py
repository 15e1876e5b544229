"""Checkpoints of runs as entrants of campaigns: one that is named becomes an adapter, which stays when the run has
cleared the checkpoint away. Imports no torch."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import StoreError
from engine.families.lora_files import WEIGHT_FILES, has_weights
from engine.files.atomic import replace_folder
from engine.files.manifests import find_damage
from engine.runs.adapters import AdapterCard, list_adapters, write_card
from engine.runs.checkpoint_series import step_of
from engine.runs.run import list_runs
from engine.storage.temp_folders import temp_path
from engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A step of a run whose LoRA weights are there; `folder` is the trainer's."""

    run: str
    step: int
    model: str
    folder: Path

    @property
    def name(self) -> str:
        """What it is called as an adapter."""
        return f"{self.run}@{self.step}"


def list_checkpoints(workspace: Workspace, model: str | None = None) -> list[Checkpoint]:
    """The checkpoints of a model's runs (None: of all), a run's by their steps; a damaged run has none."""
    found = []
    for run in list_runs(workspace):
        try:
            of_model = run.preset().model
        except StoreError:
            continue
        found += [
            Checkpoint(run=run.id, step=step_of(path) or 0, model=of_model, folder=path)
            for path in run.series.listed()
            if has_weights(path) and model in (None, of_model)
        ]
    return sorted(found, key=lambda one: (one.run, one.step))


def publish_named(workspace: Workspace, model: str, names: Iterable[str]) -> None:
    """Make those of the names that are checkpoints of the model's runs adapters of it, where they are not yet.

    Raises StoreError when one is damaged or cannot be written. A name that is neither is left to whoever asks for it.
    """
    known = {adapter.name for adapter in list_adapters(workspace, model)}
    there = {one.name: one for one in list_checkpoints(workspace, model)} if set(names) - known else {}
    for name in set(names) - known:
        if name in there:
            _publish(workspace, there[name])


def _publish(workspace: Workspace, one: Checkpoint) -> None:
    if (why := find_damage(one.folder, WEIGHT_FILES)) is not None:
        raise StoreError(f"The checkpoint {one.name} cannot be made an adapter: {why}. Choose another checkpoint.")
    partial = temp_path(workspace, one.name)
    try:
        partial.mkdir(parents=True)
        workspace.adapters.mkdir(exist_ok=True)
        for name in WEIGHT_FILES:
            if (one.folder / name).is_file():
                shutil.copy2(one.folder / name, partial)
        write_card(partial, AdapterCard(model=one.model, note=f"Run {one.run} after {one.step} steps."))
        replace_folder(partial, workspace.adapters / one.name)
    except OSError as error:
        raise StoreError(f"The checkpoint {one.name} cannot be made an adapter: {error.strerror or error}.") from error
