"""A clip to keep."""

import numpy as np
import pytest

from rewards.clip import Clip


@pytest.fixture
def clip() -> Clip:
    """Nine frames of noise, 32x48 px."""
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), dtype=np.uint8)
    return Clip(frames=frames, fps=8.0, prompt="noise")
