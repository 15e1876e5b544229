"""Pairs of a model's own clips: the best take against the worst, with a margin, ready for DPO."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config.prompts import PromptRow
from engine.errors import ConfigError
from engine.labelling.preference_formats import read_preference_data
from engine.request import GenerationRequest
from engine.training.data.reward_pairs import best_and_worst, make_reward_pairs
from engine.video.reader import read_lossless
from rewards.clip import Clip

TEMPLATE = GenerationRequest(prompt="-", num_frames=9, width=32, height=32, num_steps=2, guidance=1.0)


def brightness(prompts: Sequence[str], completions: Sequence[Clip], **_: Any) -> list[float | None]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def drained(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_a_margin_keeps_noise_out() -> None:
    choice = best_and_worst([0.2, None, 0.5, 0.3], 0.1)
    assert choice is not None
    assert (choice.best, choice.worst, choice.margin) == (2, 0, pytest.approx(0.3))
    assert best_and_worst([0.5, 0.55], 0.1) is None
    assert best_and_worst([0.5, None], 0.0) is None
    assert best_and_worst([0.5, 0.5], 0.0) is None


def test_the_best_take_is_chosen(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    prompts = ["a red circle", "a blue square"]
    assert (
        drained(
            make_reward_pairs(
                open_tiny(),
                TEMPLATE,
                [PromptRow(prompt=prompt) for prompt in prompts],
                brightness,
                folder,
                takes=3,
                margin=0.0,
            )
        )
        == 2
    )
    rows = read_preference_data(folder / "pairs.jsonl")
    assert [row["prompt"] for row in rows] == prompts
    for row in rows:
        chosen, rejected = (read_lossless(Path(row[side]))[0] for side in ("chosen", "rejected"))
        assert chosen.shape == (9, 32, 32, 3)
        assert (np.mean(chosen) - np.mean(rejected)) / 255 == pytest.approx(row["margin"], abs=1e-4)
        assert row["margin"] > 0


def test_pairs_that_cannot_be_made_are_refused(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    family = open_tiny()
    for others, message in (({"takes": 1}, "two variations"), ({"margin": 0.9}, "differ by 0.9")):
        with pytest.raises(ConfigError, match=message):
            drained(make_reward_pairs(family, TEMPLATE, [PromptRow(prompt="a")], brightness, tmp_path / "p", **others))
    with pytest.raises(ConfigError, match="exists already"):
        drained(make_reward_pairs(family, TEMPLATE, [PromptRow(prompt="a")], brightness, tmp_path))
