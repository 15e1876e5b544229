"""Calling reward functions of TRL's protocol, and refusing what must never reach the weights.

    f(prompts, completions, **kwargs) -> list[float | None]

Completions are `Clip`s. `kwargs` are the data set's other columns, each a list, and what TRL passes besides:
`trainer_state`, `log_extra(column, values)` and `log_metric(name, value)`. None means that the reward does not apply.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.errors import TrainingError
from rewards.clip import Clip

RewardFunc = Callable[..., Sequence[float | None]]


def score(
    functions: Sequence[RewardFunc],
    rows: Sequence[Mapping[str, Any]],
    clips: Sequence[Clip],
    **extras: Any,
) -> Tensor:
    """`float32[N,R]`, NaN where a function gave None.

    Raises TrainingError, naming function and clip, for NaN or infinity, or a list of another length.
    """
    prompts = [clip.prompt for clip in clips]
    columns = {key: [row[key] for row in rows] for key in rows[0] if key not in ("prompt", "completion")}
    given = [_checked(f, f(prompts=prompts, completions=list(clips), **columns, **extras), prompts) for f in functions]
    return torch.tensor(given, dtype=torch.float32).T


def name_of(function: RewardFunc) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _checked(function: RewardFunc, values: Sequence[float | None], prompts: Sequence[str]) -> list[float]:
    if len(values) != len(prompts):
        raise TrainingError(
            f"The reward '{name_of(function)}' gave {len(values)} values for {len(prompts)} clips: it must give one "
            "for each, None where it does not apply."
        )
    numbers = []
    for value, prompt in zip(values, prompts, strict=True):
        number = float("nan") if value is None else float(value)
        if value is not None and not abs(number) < float("inf"):
            raise TrainingError(
                f"The reward '{name_of(function)}' gave {number} for a clip of {prompt[:60]!r}: it must give a finite "
                "number, or None where it does not apply. Nothing was updated."
            )
        numbers.append(number)
    return numbers
