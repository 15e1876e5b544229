"""Scoring in parts: the same values, calls while the next part is made, errors, and what is logged."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.training.rollout.part_scoring import PartScoring
from engine.training.rollout.reward_calls import score
from rewards.clip import Clip

CLIPS = [Clip(frames=np.full((3, 8, 8, 3), 20 * n, np.uint8), fps=8.0, prompt=f"prompt {n // 4}") for n in range(8)]
ROWS = [{"prompt": clip.prompt, "tag": n} for n, clip in enumerate(CLIPS)]
CPU = torch.device("cpu")


def brightness(completions: Sequence[Clip], **_: Any) -> list[float | None]:
    return [float(clip.frames.mean()) or None for clip in completions]


class Recorded:
    """A reward function that records the tags of each call, and what it depends on."""

    __name__ = "recorded"

    def __init__(self, *, splittable: bool, compares: bool = False) -> None:
        self.splittable, self.compares_clips = splittable, compares
        self.calls: list[list[int]] = []

    def __call__(self, completions: Sequence[Clip], tag: Sequence[int], fps: Sequence[float], **_: Any) -> list[float]:
        assert len(fps) == len(completions)
        self.calls.append(list(tag))
        return [float(one) for one in tag]


def score_in_parts(functions: Sequence[Any], size: int, **others: Any) -> tuple[torch.Tensor, PartScoring]:
    with PartScoring(functions, ROWS, group=4, device=CPU, **others) as scoring:
        for start in range(0, len(CLIPS), size):
            scoring.add(CLIPS[start : start + size])
        return scoring.rewards(CLIPS), scoring


@pytest.mark.parametrize("size", [1, 3, 8])
def test_values_are_those_of_one_call_in_the_order_of_functions_and_clips(size: int) -> None:
    def fast(**kwargs: Any) -> list[float | None]:
        return brightness(**kwargs)

    fast.splittable = True  # type: ignore[attr-defined]
    functions = [Recorded(splittable=False), fast, Recorded(splittable=True)]
    found, _ = score_in_parts(functions, size)
    expected = score(functions, ROWS, CLIPS, fps=[8.0] * 8)
    assert torch.equal(found.nan_to_num(nan=-1), expected.nan_to_num(nan=-1)) and found.isnan().sum() == 1


def test_functions_get_parts_whole_groups_or_the_whole_batch() -> None:
    apart, whole = Recorded(splittable=True), Recorded(splittable=False, compares=True)
    score_in_parts([apart, whole], 3)
    assert apart.calls == [[0, 1], [2, 3, 4, 5], [6, 7]] and whole.calls == [list(range(8))]
    comparing = Recorded(splittable=True, compares=True)
    score_in_parts([comparing], 3)
    assert comparing.calls == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_clips_that_were_not_handed_over_are_scored_at_the_end() -> None:
    reward = Recorded(splittable=True)
    with PartScoring([reward], ROWS, group=4, device=CPU) as scoring:
        scoring.add(CLIPS[:5])
        assert scoring.rewards(CLIPS)[:, 0].tolist() == list(range(8))
    assert reward.calls == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_part_is_scored_while_the_next_one_is_made() -> None:
    """The first call ends only after the second part was handed over, which waiting for the call would prevent."""
    second_made = threading.Event()

    def reward(completions: Sequence[Clip], **_: Any) -> list[float]:
        assert second_made.wait(30)
        return [1.0] * len(completions)

    reward.splittable = True  # type: ignore[attr-defined]
    with PartScoring([reward], ROWS, group=4, device=CPU) as scoring:
        scoring.add(CLIPS[:4])
        scoring.add(CLIPS[4:])
        second_made.set()
        assert scoring.rewards(CLIPS).tolist() == [[1.0]] * 8


def failing(started: threading.Event) -> Callable[..., list[float]]:
    def reward(completions: Sequence[Clip], **_: Any) -> list[float]:
        started.set()
        return [float("nan")] * len(completions)

    reward.splittable = True  # type: ignore[attr-defined]
    return reward


def test_an_error_is_raised_at_the_end_at_the_latest() -> None:
    with (
        pytest.raises(TrainingError, match="gave nan for a clip of 'prompt 0'"),
        PartScoring([failing(threading.Event())], ROWS, group=4, device=CPU) as scoring,
    ):
        scoring.add(CLIPS[:4])
        scoring.rewards(CLIPS)


def test_an_error_of_an_early_part_stops_the_generation_of_later_ones() -> None:
    reward = failing(started := threading.Event())
    with (
        pytest.raises(TrainingError, match="gave nan"),
        PartScoring([reward], ROWS, group=4, device=CPU) as scoring,
    ):
        scoring.add(CLIPS[:4])
        assert started.wait(30)
        scoring._parts[0].exception(timeout=30)
        scoring.add(CLIPS[4:])
        pytest.fail("the second part was taken")


def test_leaving_with_an_error_cancels_the_calls_that_wait() -> None:
    begun, release, calls = threading.Event(), threading.Event(), []

    def reward(completions: Sequence[Clip], **_: Any) -> list[float]:
        calls.append(len(completions))
        begun.set()
        assert release.wait(30)
        return [0.0] * len(completions)

    reward.splittable = True  # type: ignore[attr-defined]

    class Interrupted(Exception):
        pass

    with (
        pytest.raises(Interrupted),
        PartScoring([reward], ROWS, group=4, device=CPU) as scoring,
    ):
        scoring.add(CLIPS[:4])
        scoring.add(CLIPS[4:])
        assert begun.wait(30)
        scoring._parts[1].add_done_callback(lambda _: release.set())  # called when it is cancelled
        raise Interrupted
    assert calls == [4]


def test_what_functions_log_is_kept_for_the_whole_batch() -> None:
    def reward(completions: Sequence[Clip], log_extra: Any, log_metric: Any, **_: Any) -> list[float]:
        log_extra("mean", [float(clip.frames.mean()) for clip in completions])
        log_metric("calls", 1.0)
        return [0.0] * len(completions)

    reward.splittable = True  # type: ignore[attr-defined]
    _, scoring = score_in_parts([reward], 4)
    assert scoring.columns == {"mean": [20.0 * n for n in range(8)]} and scoring.metrics == [("calls", 1.0)] * 2
