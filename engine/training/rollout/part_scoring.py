"""Scoring of a generation batch in parts, while the next clips are decoded or generated."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from engine.training.rollout.reward_calls import RewardFunc, score
from rewards.clip import Clip

PART = 2  # clips: those that are decoded together


class PartScoring:
    """Scores the clips of a generation batch, in the order of its `rows`, in a thread of its own.

    Functions with a true attribute `splittable` are called with parts: a value of theirs depends on the clip, and on
    the other clips of its prompt if they compare clips. Other functions get the whole batch at the end. The parts are
    whole groups of `group` clips if a function compares clips, otherwise of `PART` clips or more, as soon as their last
    clip is handed over. They do not depend on timing, and neither do the values. `extras` are further arguments
    of the functions.

    Use it as a context manager: leaving it waits for the running call and cancels the others.
    """

    def __init__(
        self,
        functions: Sequence[RewardFunc],
        rows: Sequence[Mapping[str, Any]],
        *,
        group: int,
        device: torch.device,
        **extras: Any,
    ) -> None:
        self._functions, self.rows, self._extras = functions, rows, extras
        self._early = [index for index, function in enumerate(functions) if getattr(function, "splittable", False)]
        compares = any(getattr(functions[index], "compares_clips", False) for index in self._early)
        self._multiple = group if compares else min(group, PART)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rewards")
        self._stream = _side_stream(device)
        self._parts: list[Future[Tensor]] = []
        self._waiting: list[Clip] = []
        self._scored = 0  # clips that were handed to the thread
        self.metrics: list[tuple[str, float]] = []
        self.columns: dict[str, list[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, clips: Sequence[Clip]) -> None:
        """Hand over the next clips of the batch. Raises what a call with earlier clips raised."""
        for part in self._parts:
            if part.done():
                part.result()
        self._waiting += clips
        ready = len(self._waiting) // self._multiple * self._multiple
        if self._early and ready:
            self._submit(ready)

    def rewards(self, clips: Sequence[Clip]) -> Tensor:
        """Return `float32[N,R]` for the whole batch, NaN where a function returned None.

        Raises as `score` does.
        """
        found = torch.full((len(clips), len(self._functions)), float("nan"))
        if self._early:
            self._waiting += clips[self._scored + len(self._waiting) :]
            if self._waiting:
                self._submit(len(self._waiting))
            found[:, self._early] = torch.cat([part.result() for part in self._parts])
        late = [index for index in range(len(self._functions)) if index not in self._early]
        if late:
            found[:, late] = self._score(late, clips, self.rows)
        return found

    def _submit(self, count: int) -> None:
        clips, self._waiting = self._waiting[:count], self._waiting[count:]
        rows = self.rows[self._scored : self._scored + count]
        self._scored += count
        self._parts.append(self._thread.submit(self._score_aside, clips, rows))

    def _score_aside(self, clips: Sequence[Clip], rows: Sequence[Mapping[str, Any]]) -> Tensor:
        with self._stream:
            return self._score(self._early, clips, rows)

    def _score(self, which: Sequence[int], clips: Sequence[Clip], rows: Sequence[Mapping[str, Any]]) -> Tensor:
        return score(
            [self._functions[index] for index in which],
            rows,
            clips,
            fps=[clip.fps for clip in clips],
            log_extra=lambda column, values: self.columns.setdefault(column, []).extend(values),
            log_metric=lambda name, value: self.metrics.append((name, value)),
            **self._extras,
        )


def _side_stream(device: torch.device) -> AbstractContextManager[Any]:
    """Return the device's stream for rewards, so that their networks run in parallel to the denoising."""
    if device.type != "cuda":
        return nullcontext()
    stream = _stream_of(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # networks of rewards were loaded there
    return torch.cuda.stream(stream)


@cache
def _stream_of(device: torch.device) -> Any:
    """Return the process's one side stream of a device: free memory of the allocator belongs to a stream."""
    return torch.cuda.Stream(device)
