"""Edges equal OpenCV's, and a fine grid on one core does not end the process."""

import subprocess
import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.vision.edges import canny


@pytest.fixture
def two_threads() -> Callable[[], None]:
    """OpenCV's own detector is sound with two threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("two_threads")
@given(
    seed=st.integers(0, 10**6), sigma=st.sampled_from([0.7, 1.5, 3.0]), levels=st.sampled_from([(50, 100), (30, 60)])
)
def test_edges_are_those_of_opencv(seed: int, sigma: float, levels: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(8, 90, 2))
    noise = cv2.GaussianBlur(rng.integers(0, 256, (height, width)).astype(np.float32), (0, 0), sigma)
    picture = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    assert np.array_equal(canny(picture, *levels), cv2.Canny(picture, *levels))


def test_a_flat_picture_has_no_edges() -> None:
    assert not canny(np.full((20, 30), 90, np.uint8), 50, 100).any()


def test_a_fine_grid_on_one_thread() -> None:
    """Score the edge rewards in a separate process on one core, as a cluster runner starts it."""
    program = """
import cv2, numpy as np
cv2.setNumThreads(1)
from rewards.metrics.structure_constancy import _soft_edges
from rewards.metrics.framing import _horizon_degrees
for step in (2, 3, 4, 5, 6, 8):
    picture = np.full((512, 512), 200, np.uint8)
    picture[::step] = 0
    picture[:, ::step] = 0
    assert np.isfinite(_soft_edges(picture)).all()
    _horizon_degrees(picture)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
