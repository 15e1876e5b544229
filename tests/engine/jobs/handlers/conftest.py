"""A request that a model of toy size makes quickly."""

import pytest

from engine.request import GenerationRequest


@pytest.fixture
def request_(tiny_model):
    shape = {"num_frames": 17, "width": 64, "height": 64, "num_steps": 2, "guidance": 1.0}
    return GenerationRequest(prompt="a red circle moving left", model=tiny_model, seed=5, **shape)
