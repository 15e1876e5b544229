"""Pairs of clips, as they come out of files and arrays, to latents."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.errors import TrainingError
from engine.training.pairs import LatentPairs


def row(prompt: str, frames: int) -> dict[str, Any]:
    chosen, rejected = np.random.default_rng(frames).integers(0, 255, (2, frames, 32, 32, 3), np.uint8)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_pairs_of_a_batch_must_be_alike_in_size(open_tiny: Callable[[], Any]) -> None:
    pairs, rows = LatentPairs(open_tiny()), [row("a circle", 9), row("a square", 17)]
    with pytest.raises(TrainingError, match="that of 'a square' is not like the first.*train_batch_size to 1"):
        pairs.latents(rows)
    with pytest.raises(TrainingError, match="that of 'a square' is not like the first"):
        pairs.chosen(rows)
    assert all(len(pairs.latents([one])[0]) == 1 for one in rows)


def test_clips_of_another_shape_than_the_settings_say_are_told_of_once(
    open_tiny: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    family = open_tiny()
    LatentPairs(family, {"num_frames": 9, "width": 32}).latents([row("a circle", 9)])
    assert not caplog.messages
    pairs = LatentPairs(family, {"num_frames": 17, "width": 64, "height": 32})
    assert pairs.latents([row("a circle", 9)])[0].shape == LatentPairs(family).latents([row("a circle", 9)])[0].shape
    [said] = caplog.messages
    assert "a clip with num_frames = 9, width = 32, but the settings say num_frames = 17, width = 64" in said


def test_clips_are_cut_to_a_length_that_the_family_can_make(open_tiny: Callable[[], Any]) -> None:
    """VideoDPO-10k has 16 frames: a VAE of 8k+1 would otherwise drop or misplace the last ones without a word."""
    pairs, longer = LatentPairs(open_tiny()), row("a circle", 16)
    cut = {**longer, **{side: longer[side][:9] for side in ("chosen", "rejected")}}
    for got, wanted in zip(pairs.latents([longer]), LatentPairs(open_tiny()).latents([cut]), strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted.numpy())
    assert pairs.seen == {(9, 32, 32)}
