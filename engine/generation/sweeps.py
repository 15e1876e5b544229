"""Sweeps: clips of one request over the values of one or two settings. Imports no torch."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from engine.errors import ConfigError
from engine.generation.validation import read_request
from engine.request import GenerationRequest, SweepAxis, adapter_fields
from rewards.errors import did_you_mean

BASE = "base"  # value of a checkpoint axis: without adapters
STRENGTH, CHECKPOINT, PROMPT, SEED = "strength", "checkpoint", "prompt", "seed"
# Axis -> field of a request. The others change the adapters.
FIELDS: Mapping[str, str] = {"guidance": "guidance", SEED: "seed", "steps": "num_steps", PROMPT: "prompt"}
NUMBERS: Mapping[str, Callable[[str], float]] = {"guidance": float, SEED: int, "steps": int, STRENGTH: float}
AXES = ("guidance", SEED, "steps", STRENGTH, CHECKPOINT, PROMPT)


def read_axis(name: str, text: str) -> SweepAxis:
    """Return an axis from its typed values: divided by commas, those of prompts by `|` or line ends.

    Raises ConfigError for an unknown axis, no value, a value that is listed twice, and text in place of a number.
    """
    if name not in AXES:
        raise ConfigError(f"Unknown axis '{name[:40]}' of a sweep: use {', '.join(AXES)}. {did_you_mean(name, AXES)}")
    cut = text.replace("\n", "|" if name == PROMPT else ",").split("|" if name == PROMPT else ",")
    values = [value.strip() for value in cut if value.strip()]
    if not values:
        raise ConfigError(f"The sweep has no value of {name}: write some, such as {_example(name)}.")
    for value in values:
        _check_value(name, value)
    if twice := next((value for value in values if values.count(value) > 1), None):
        raise ConfigError(f"The sweep has the {name} {twice[:40]} twice: leave one out.")
    return SweepAxis(name=name, values=tuple(values))


def _check_value(name: str, value: str) -> None:
    try:
        NUMBERS.get(name, str)(value)
    except ValueError as error:
        raise ConfigError(
            f"The sweep's {name} must be numbers, but got '{value[:40]}': write {_example(name)}."
        ) from error


def _example(name: str) -> str:
    examples = {
        CHECKPOINT: f"{BASE}, run@8",
        PROMPT: "a red ball | a blue star",
        STRENGTH: "0.5, 1",
        "guidance": "1, 3, 5",
    }
    return examples.get(name, "1, 2")


def check_axes(axes: Sequence[SweepAxis]) -> None:
    """Raise ConfigError unless there are one or two different axes."""
    if not 1 <= len(axes) <= 2 or len({axis.name for axis in axes}) < len(axes):
        names = ", ".join(axis.name for axis in axes) or "none"
        raise ConfigError(f"A sweep has one or two different axes, but got {names}.")


def sweep_requests(fields: Mapping[str, Any], axes: Sequence[SweepAxis]) -> list[GenerationRequest]:
    """Return the requests of a sweep of `fields`, row by row: the first axis has the columns.

    A checkpoint replaces the request's adapters; a strength is that of its first adapter. Raises ConfigError.
    """
    check_axes(axes)
    return [read_request(_changed(fields, row)) for row in _rows(axes)]


def _rows(axes: Sequence[SweepAxis]) -> list[dict[str, str]]:
    outer_first = list(reversed(axes))
    names = [axis.name for axis in outer_first]
    return [dict(zip(names, values, strict=True)) for values in product(*(axis.values for axis in outer_first))]


def _changed(fields: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    scales = [(used["name"], used["scale"]) for used in fields.get("adapters") or ()]
    scales = scales or ([(fields["adapter"], 1.0)] if fields.get("adapter") else [])
    if CHECKPOINT in values:
        scale = scales[0][1] if scales else 1.0
        scales = [] if values[CHECKPOINT] == BASE else [(values[CHECKPOINT], scale)]
    elif STRENGTH in values and not scales:
        raise ConfigError("A sweep of the strength needs an adapter: choose one.")
    if STRENGTH in values and scales:
        scales[0] = scales[0][0], float(values[STRENGTH])
    plain = {FIELDS[name]: NUMBERS.get(name, str)(value) for name, value in values.items() if name in FIELDS}
    return {**fields, **plain, **adapter_fields(scales)}
