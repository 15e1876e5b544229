"""What is shared by all families' values."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.family_interface import Conditioning, FamilySpec


def spec(stride: int, offset: int) -> FamilySpec:
    return FamilySpec(
        key="x",
        title="X",
        prediction="flow",
        frame_stride=stride,
        frame_offset=offset,
        size_multiple=8,
        lora_targets=(),
    )


@given(stride=st.integers(1, 16), offset=st.integers(0, 1), frames=st.integers(1, 1000))
def test_the_nearest_frames_are_allowed_and_nearest(stride: int, offset: int, frames: int) -> None:
    family = spec(stride, offset)
    nearest = family.nearest_frames(frames)
    assert family.allows_frames(nearest)
    allowed = [n for n in range(1, 1100) if family.allows_frames(n) and n >= stride]
    assert abs(nearest - frames) == min(abs(n - frames) for n in allowed)


def conditioning(value: float, num_rows: int) -> Conditioning:
    return Conditioning(
        embeds=torch.full((num_rows, 2, 3), value),
        mask=torch.ones(num_rows, 2, dtype=torch.bool),
        extras={"pooled": torch.full((num_rows, 4), value), "note": "kept"},
        fps=value,
    )


def test_rows_are_chosen_in_every_tensor() -> None:
    both = conditioning(1.0, 1).concat(conditioning(2.0, 2))
    assert both.embeds[:, 0, 0].tolist() == [1, 2, 2] and both.fps == 1.0
    assert both.extras is not None and both.extras["pooled"][:, 0].tolist() == [1, 2, 2]
    assert both.extras["note"] == "kept" and both.mask is not None and both.mask.shape == (3, 2)
    some = both.rows([2, 0])
    assert some.embeds[:, 0, 0].tolist() == [2, 1] and some.extras is not None
    assert some.extras["pooled"][:, 0].tolist() == [2, 1] and some.mask is not None and some.mask.shape == (2, 2)


def test_values_without_mask_or_extras_join_too() -> None:
    bare = Conditioning(embeds=torch.zeros(1, 2, 3))
    assert bare.concat(bare).embeds.shape == (2, 2, 3) and bare.concat(bare).mask is None


@pytest.mark.parametrize("num_frames", [0, -7, 1])
def test_too_few_frames_are_never_allowed(num_frames: int) -> None:
    assert not spec(8, 1).allows_frames(num_frames)
