"""The adapters that a run begins with or trains over.

Also the steps of a model that is distilled to a few. Imports no torch.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.algorithms import few_step_settings
from engine.config.presets import load_model_preset
from engine.config.schema import TrainPreset
from engine.families.lora_files import WEIGHT_FILES
from engine.runs.adapters import CARD, find_adapter, read_card

if TYPE_CHECKING:
    from engine.runs.run import Run


def set_adapters(run: "Run", preset: TrainPreset, start: Path | None) -> TrainPreset:
    """Copy the initial and the frozen adapter into the run; return the run's preset.

    A model that is distilled to a few steps brings these and no guidance. Raises ConfigError for an unknown frozen
    adapter, or for settings that would undo a distillation.
    """
    name = preset.settings.get("frozen_adapter")
    frozen = find_adapter(run.workspace, str(name), preset.model).folder if name else None
    for source, copy in ((start, run.start), (frozen, run.frozen)):
        if source is not None:
            others = set(path.name for path in source.iterdir()) - {*WEIGHT_FILES, CARD}
            shutil.copytree(source, copy, ignore=lambda *_, others=others: others, dirs_exist_ok=True)
    if (few := few_steps(run, preset)) is None:
        return preset
    return preset.model_copy(update={"settings": few_step_settings(preset.algorithm, preset.settings, *few)})


def few_steps(run: "Run", preset: TrainPreset) -> tuple[str, int] | None:
    """Return the name of the distilled part under the run and its steps; None without one."""
    for folder, what in ((run.frozen, "The frozen adapter"), (run.start, "The initial adapter")):
        card = read_card(folder)
        if card is not None and card.distilled and card.num_steps:
            return what, card.num_steps
    model = load_model_preset(preset.model)
    return (f"The model '{model.key}'", model.num_steps) if model.distilled else None
