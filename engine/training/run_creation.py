"""Creation of a run from a preset: its prompts are checked, and the votes of its campaign are frozen."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from engine.config.schema import TrainPreset
from engine.generation.validation import check_prompts_fit
from engine.labelling.run_dataset import freeze_pairs, write_frozen_pairs
from engine.runs.run import Run
from engine.storage.library import Library


def create_run(
    store: Library,
    preset: TrainPreset,
    start: Path | None = None,
    key: str | None = None,
    start_scales: Mapping[str, float] | None = None,
) -> Run:
    """Create a run, optionally from the adapter in the folder `start`.

    A preset that names a campaign gets the pairs of its current votes. `start_scales` and `key`: see `Run.create`.
    Raises ConfigError when the votes make no pair, or when the prompts do not fit the model, and StoreError when there
    is no such campaign.
    """
    check_prompts_fit(preset)
    frozen = freeze_pairs(store, preset)
    prepare = partial(write_frozen_pairs, store, frozen=frozen)
    return Run.create(store.workspace, preset, start, prepare, start_scales=start_scales, key=key)
