"""Checkpoints of runs as entrants of campaigns. Imports no torch.

A checkpoint that is named becomes an adapter, which remains after the run has removed the checkpoint.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import StoreError
from engine.families.lora_files import WEIGHT_FILES, has_weights
from engine.files.manifests import find_damage
from engine.runs.adapters import AdapterCard, list_adapters, write_card
from engine.runs.checkpoint_series import step_of
from engine.runs.run import list_runs
from engine.storage.temp_folders import replaced_folder
from engine.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A step of a run with existing LoRA weights; `folder` is the trainer's."""

    run: str
    step: int
    model: str
    folder: Path

    @property
    def name(self) -> str:
        """The name of the adapter made from this checkpoint."""
        return f"{self.run}@{self.step}"


def list_checkpoints(workspace: Workspace, model: str | None = None) -> list[Checkpoint]:
    """Return the checkpoints of a model's runs (None: all models) by run and step, without damaged runs."""
    checkpoints = []
    for run in list_runs(workspace):
        try:
            of_model = run.preset().model
        except StoreError:
            continue
        checkpoints += [
            Checkpoint(run=run.id, step=step_of(path) or 0, model=of_model, folder=path)
            for path in run.series.listed()
            if has_weights(path) and model in (None, of_model)
        ]
    return sorted(checkpoints, key=lambda checkpoint: (checkpoint.run, checkpoint.step))


def publish_named(workspace: Workspace, model: str, names: Iterable[str]) -> None:
    """Copy the named checkpoints of the model's runs as adapters, unless they are adapters already.

    Raises StoreError when one is damaged or cannot be written. Unknown names are ignored; the caller's use of the
    adapter reports them.
    """
    missing = set(names) - {adapter.name for adapter in list_adapters(workspace, model)}
    checkpoints = {checkpoint.name: checkpoint for checkpoint in list_checkpoints(workspace, model)} if missing else {}
    for name in missing:
        if name in checkpoints:
            _publish(workspace, checkpoints[name])


def _publish(workspace: Workspace, checkpoint: Checkpoint) -> None:
    if (why := find_damage(checkpoint.folder, WEIGHT_FILES)) is not None:
        raise StoreError(
            f"The checkpoint {checkpoint.name} cannot become an adapter: {why}. Choose another checkpoint."
        )
    card = AdapterCard(model=checkpoint.model, note=f"Run {checkpoint.run} after {checkpoint.step} steps.")
    try:
        with replaced_folder(workspace.adapters / checkpoint.name) as partial:
            for name in WEIGHT_FILES:
                if (checkpoint.folder / name).is_file():
                    shutil.copy2(checkpoint.folder / name, partial)
            write_card(partial, card)
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(f"The checkpoint {checkpoint.name} cannot become an adapter: {why}.") from error
