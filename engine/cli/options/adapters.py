"""The options of commands that use adapters of the workspace, each with a scale."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families.exchange.combining import combine
from engine.families.lora_files import Lora, for_pipeline, read_parts, write_parts
from engine.families.registry import family_spec
from engine.runs.adapters import combined_card, find_adapter, write_card
from engine.workspace import Workspace


def add_adapters(parser: argparse.ArgumentParser, option: str, purpose: str, *, required: bool = False) -> None:
    """Add `--OPTION NAME` and `--OPTION-scale X`, which may be repeated."""
    parser.add_argument(
        f"--{option}",
        action="append",
        required=required,
        metavar="NAME",
        help=f"{purpose}, see `dailies adapters ls`; repeat the option to add several",
    )
    parser.add_argument(
        f"--{option}-scale",
        action="append",
        type=float,
        metavar="X",
        help="strength of the adapter, such as 0.8 (default: 1); for several, once for each in their order",
    )


def scales_of(options: argparse.Namespace, option: str) -> dict[str, float]:
    """Return the scale of each named adapter.

    Raises ConfigError when the numbers of names and scales differ, or for a name twice.
    """
    names, scales = getattr(options, option) or [], getattr(options, f"{option}_scale")
    if scales is not None and len(scales) != len(names):
        raise ConfigError(f"{len(scales)} --{option}-scale for {len(names)} --{option}: give one for each, or none.")
    if len(set(names)) < len(names):
        raise ConfigError(f"--{option} names an adapter twice: add its scales.")
    return dict(zip(names, scales or [1.0] * len(names), strict=True))


def write_combined(folder: Path, workspace: Workspace, scales: Mapping[str, float], preset: ModelPreset) -> None:
    """Write several adapters of a model as one, with a card.

    Raises the errors of `combined_adapter` and `combined_card`.
    """
    adapters = {name: find_adapter(workspace, name, preset.key) for name in scales}
    card = combined_card(adapters, scales, preset.key)
    write_parts(folder, combined_adapter(workspace, scales, preset))
    write_card(folder, card)


def combined_adapter(workspace: Workspace, scales: Mapping[str, float], preset: ModelPreset) -> dict[str, Lora]:
    """Return several adapters of a model as one, see `combine`.

    Raises ConfigError for an unknown adapter, FamilyError for one that cannot be read.
    """
    part = family_spec(preset.family).network_part
    folders = {name: find_adapter(workspace, name, preset.key).folder for name in scales}
    return combine((for_pipeline(read_parts(folders[name]), part), scale) for name, scale in scales.items())
