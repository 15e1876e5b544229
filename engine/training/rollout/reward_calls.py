"""Calling reward functions of TRL's protocol, and refusing what must never reach the weights.

    f(prompts, completions, **kwargs) -> list[float | None]

Completions are `Clip`s. `kwargs` are the data set's other columns, each a list, and what TRL passes besides:
`trainer_state`, `log_extra(column, values)` and `log_metric(name, value)`; not `completion_ids`, since a clip has no
tokens. None means that the reward does not apply. A function may be `async`; such ones wait side by side.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from engine.errors import TrainingError
from rewards.clip import Clip

Values = Sequence[float | None]
RewardFunc = Callable[..., Values | Awaitable[Values]]


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
    answers = [f(prompts=prompts, completions=list(clips), **columns, **extras) for f in functions]
    given = [_checked(f, values, prompts) for f, values in zip(functions, _awaited(answers), strict=True)]
    return torch.tensor(given, dtype=torch.float32).T


def _awaited(answers: Sequence[Values | Awaitable[Values]]) -> list[Values]:
    """The values of all functions; those that are still on their way are waited for together."""
    waiting = [answer for answer in answers if inspect.isawaitable(answer)]

    async def together() -> list[Values]:
        return list(await asyncio.gather(*waiting))

    arrived = iter(asyncio.run_coroutine_threadsafe(together(), _loop()).result() if waiting else ())
    return [next(arrived) if inspect.isawaitable(answer) else answer for answer in answers]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for the process, in a thread of its own: clients keep what belongs to it from batch to batch, and a
    notebook's own loop may be running here."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rewards", daemon=True).start()
    return loop


def name_of(function: RewardFunc) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _checked(function: RewardFunc, values: Values, prompts: Sequence[str]) -> list[float]:
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
