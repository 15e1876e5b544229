"""Calls of reward functions by TRL's protocol, with validation of their values.

    f(prompts, completions, **kwargs) -> list[float | None]

Completions are `Clip`s. `kwargs` are the data set's other columns, each a list, and TRL's further arguments
`trainer_state`, `log_extra(column, values)` and `log_metric(name, value)`, but not `completion_ids`, since a clip has
no tokens. None means that the reward does not apply. Functions may be `async`; these are awaited concurrently.

A function with a true attribute `splittable` may be called with a part of the batch while the rest is generated. One
with a true attribute `compares_clips` gets whole groups.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from engine.errors import ConfigError, TrainingError
from rewards.clip import Clip

Values = Sequence[float | None]
RewardFunc = Callable[..., Values | Awaitable[Values]]


def score(
    functions: Sequence[RewardFunc],
    rows: Sequence[Mapping[str, Any]],
    clips: Sequence[Clip],
    **extras: Any,
) -> Tensor:
    """Return the rewards `float32[N,R]`, NaN where a function returned None.

    A column that only some rows have is None in the others.
    Raises TrainingError, naming function and clip, for NaN, infinity, or a list of the wrong length.
    """
    prompts = [clip.prompt for clip in clips]
    names = dict.fromkeys(name for row in rows for name in row if name not in ("prompt", "completion"))
    columns = {name: [row.get(name) for row in rows] for name in names}
    answers = [f(prompts=prompts, completions=list(clips), **columns, **extras) for f in functions]
    rewards = [_checked(f, values, prompts) for f, values in zip(functions, _awaited(answers), strict=True)]
    return torch.tensor(rewards, dtype=torch.float32).T


def _awaited(answers: Sequence[Values | Awaitable[Values]]) -> list[Values]:
    """Return the values of all functions, awaiting the asynchronous ones together."""
    waiting = [answer for answer in answers if inspect.isawaitable(answer)]

    async def together() -> list[Values]:
        return list(await asyncio.gather(*waiting))

    arrived = iter(asyncio.run_coroutine_threadsafe(together(), _loop()).result() if waiting else ())
    return [next(arrived) if inspect.isawaitable(answer) else answer for answer in answers]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the process's event loop, in its own thread.

    Clients keep objects that belong to a loop across batches, and a notebook's loop may run in this thread.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="rewards", daemon=True).start()
    return loop


def check_whole_groups(functions: Sequence[RewardFunc], share: int, group: int) -> None:
    """Check that a process which scores `share` clips at once gets whole groups of `group` clips.

    Raises ConfigError when it does not and a reward compares clips: a win rate within a part of a group does not
    compare with one within another part.
    """
    comparing = [name_of(function) for function in functions if getattr(function, "compares_clips", False)]
    if comparing and share % group:
        raise ConfigError(
            f"The reward '{comparing[0]}' compares the clips of a prompt, but a process scores {share} clips at once "
            f"and num_generations is {group}: choose sizes so that a process has a multiple of {group} clips."
        )


def check_batch(rows: Sequence[Mapping[str, Any]], functions: Sequence[RewardFunc], args: Any) -> None:
    """Raise ConfigError for too few prompts, or for rewards that do not fit their weights."""
    if not rows:
        raise ConfigError("There are no prompts to train on: give at least one.")
    if not functions:
        raise ConfigError("There is no reward to train on: give at least one reward function.")
    if any(isinstance(function, torch.nn.Module) for function in functions):
        raise ConfigError(
            "A reward given as a network would be read as a text classifier by TRL: wrap it in a function."
        )
    weights = args.reward_weights
    if weights is not None and len(weights) != len(functions):
        raise ConfigError(f"There are {len(weights)} reward_weights for {len(functions)} rewards: give one for each.")
    needed = args.generation_batch_size // args.num_generations
    if len(rows) < needed:
        raise ConfigError(
            f"A generation batch takes {needed} prompts, but there are {len(rows)}: give more prompts, or lower "
            "gradient_accumulation_steps, the batch size or generation_batch_size."
        )


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
