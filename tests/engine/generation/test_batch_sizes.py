"""Batches hold no more clips than their size allows, in Generate and in evaluations alike."""

from typing import Any

import pytest

from engine.generation.pipeline import BATCH_CLIPS, clips_together
from engine.request import GenerationRequest
from engine.training.evaluation.evaluate import BATCH, Side, batches_of

SIZES = {"small": (9, 32, 32, BATCH_CLIPS), "middle": (17, 256, 256, 3), "large": (81, 832, 480, 1)}


@pytest.mark.parametrize("size", SIZES)
def test_an_evaluations_batch_is_at_most_that_of_generate(size: str, tiny_family: Any) -> None:
    num_frames, width, height, most = SIZES[size]
    asked = GenerationRequest(prompt="a red circle", num_frames=num_frames, width=width, height=height)
    assert clips_together(asked) == most
    side = Side(requests=(asked,) * 16, adapter=None)
    batches = list(batches_of(tiny_family, side, "before"))
    assert len(batches) == -(-16 // min(BATCH, most))
