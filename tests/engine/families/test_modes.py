"""Keyframes and windows in families that take neither pictures nor given frames: the training-free ways."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.generation.generate import Generated, Keyframes, generate
from engine.generation.request import KeyframePlan, WindowPlan
from engine.generation.windows import decode_in_pieces
from engine.seeds import generator_for

ONE_EACH = pytest.mark.parametrize("tiny", ["wan", "animatediff", "cogvideox", "hunyuanvideo"], indirect=True)


def make(family: Any, request: Any) -> tuple[Any, Any]:
    """The clip of a request, and its keyframes if it has any."""
    events = list(generate(family, [request]))
    keyframes = next((event for event in events if isinstance(event, Keyframes)), None)
    return next(event.clip for event in events if isinstance(event, Generated)), keyframes


@ONE_EACH
def test_keyframes_come_out_at_their_places(tiny_open: SimpleNamespace) -> None:
    plan = KeyframePlan(interval=4, flow_guidance=0.5)
    request = tiny_open.model.request.model_copy(update={"mode": "keyframes", "keyframes": plan})
    clip, keyframes = make(tiny_open.family, request)
    assert clip.num_frames == request.num_frames and keyframes.places[-1] == request.num_frames - 1
    assert np.array_equal(clip.frames[list(keyframes.places)], keyframes.pictures)
    assert clip.frames.std() > 5


@ONE_EACH
def test_clips_longer_than_the_model_makes(tiny_open: SimpleNamespace) -> None:
    """AnimateDiff's adapter knows 32 frames; the causal families are asked for a length that is not 4k+1."""
    is_short = tiny_open.family.spec.frame_stride > 1
    plan, wanted = (WindowPlan(length=9, overlap=4), 20) if is_short else (WindowPlan(length=16, overlap=4), 40)
    updates = {"mode": "windows", "windows": plan, "num_frames": wanted, "num_steps": 2}
    clip, _ = make(tiny_open.family, tiny_open.model.request.model_copy(update=updates))
    assert clip.num_frames == wanted and clip.seams and clip.frames.std() > 5
    assert all(0 < seam < wanted for seam in clip.seams)


@ONE_EACH
def test_decoding_in_pieces(tiny_open: SimpleNamespace) -> None:
    """The first piece by itself, then what follows it; exactly the whole where frames have latents of their own."""
    family, stride = tiny_open.family, tiny_open.family.spec.frame_stride
    request = tiny_open.model.request.model_copy(update={"num_frames": 3 * stride + tiny_open.family.spec.frame_offset})
    latents = family.init_latents(request, [generator_for(1)])
    frames_a_latent = 1 if stride == 1 else (request.num_frames - 1) // (latents.shape[2] - 1)
    pieces = decode_in_pieces(family, latents, 3, frames_a_latent)
    assert pieces.shape == (request.num_frames, request.height, request.width, 3)
    first = family.decode(latents[:, :, :3])[0]
    assert np.array_equal(pieces[: len(first)], first)
    if stride == 1:
        assert np.array_equal(pieces, family.decode(latents)[0])
