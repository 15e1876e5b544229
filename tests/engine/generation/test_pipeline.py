"""From requests to clips on the toy model: the same clip each time, in any batch, and a word for what cannot be."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import ConfigError, FamilyError
from engine.estimation.clip_estimate import describe_memory
from engine.generation.context import ClipReady, GenerationContext, Progress
from engine.generation.pipeline import BATCH_CLIPS, generate
from engine.request import GenerationRequest, KeyframePlan
from rewards.clip import Clip

REQUEST = GenerationRequest(
    prompt="a red circle moving right", num_frames=9, width=32, height=32, num_steps=4, guidance=2.5, seed=11
)


def clips(family: Any, *requests: GenerationRequest) -> dict[GenerationRequest, Clip]:
    return {event.request: event.clip for event in generate(family, requests) if isinstance(event, ClipReady)}


def another(**fields: Any) -> GenerationRequest:
    return REQUEST.model_copy(update=fields)


def test_a_request_becomes_its_clip(tiny_family: Any) -> None:
    clip = clips(tiny_family, REQUEST)[REQUEST]
    assert clip.frames.shape == (9, 32, 32, 3) and clip.frames.dtype == np.uint8
    assert clip.fps == REQUEST.fps and clip.prompt == REQUEST.prompt and clip.seams == ()
    assert clip.frames.std() > 5, "a flat clip would pass the other tests"


def test_the_same_request_gives_the_same_clip(tiny_family: Any, tiny_folder: Path, open_family: Any) -> None:
    first = clips(tiny_family, REQUEST)[REQUEST].frames
    assert np.array_equal(first, clips(tiny_family, REQUEST)[REQUEST].frames)
    assert np.array_equal(first, clips(open_family(tiny_folder), REQUEST)[REQUEST].frames)


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 12},
        {"prompt": "the blue star"},
        {"guidance": 1.0},
        {"guidance": 5.0},
        {"negative_prompt": "grey"},
        {"num_steps": 5},
        {"fps": 24.0},
    ],
)
def test_everything_in_a_request_matters(tiny_family: Any, fields: dict[str, Any]) -> None:
    other = another(**fields)
    found = clips(tiny_family, REQUEST, other)
    assert not np.array_equal(found[REQUEST].frames, found[other].frames)
    assert REQUEST.id != other.id


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_clip_is_the_same_in_any_batch(tiny_family: Any, guidance: float) -> None:
    takes = [another(seed=seed, guidance=guidance) for seed in range(5)]
    takes[3] = takes[3].model_copy(update={"prompt": "the blue star over a meadow"})
    together = clips(tiny_family, *takes)
    for take in takes:
        alone = clips(tiny_family, take)[take].frames
        assert np.abs(alone.astype(int) - together[take].frames).max() <= 2


def test_requests_of_different_shapes_are_made_one_batch_after_another(tiny_family: Any) -> None:
    requests = [REQUEST, another(num_frames=17), another(width=48), another(seed=1), another(num_steps=2)]
    found = clips(tiny_family, *requests)
    assert {request.id for request in found} == {request.id for request in requests}
    for request, clip in found.items():
        assert clip.frames.shape == (request.num_frames, request.height, request.width, 3)


def test_progress_counts_every_step_once(tiny_family: Any) -> None:
    requests = [another(num_frames=9, seed=seed) for seed in range(BATCH_CLIPS + 1)]
    events = list(generate(tiny_family, requests))
    steps = [event.step for event in events if isinstance(event, Progress) and event.phase == "denoise"]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8], "two batches of four steps"
    assert {event.of for event in events if isinstance(event, Progress)} == {8}
    phases = [event.phase for event in events if isinstance(event, Progress)]
    assert phases[0] == "encode" and phases[5] == "decode"
    assert sum(isinstance(event, ClipReady) for event in events) == len(requests)


def test_stopping_between_steps_is_cancelling(tiny_family: Any) -> None:
    events = generate(tiny_family, [REQUEST])
    seen = [next(events) for _ in range(3)]
    events.close()
    assert [event.step for event in seen if isinstance(event, Progress)] == [0, 1, 2]
    assert list(events) == []


def test_no_requests_no_events(tiny_family: Any) -> None:
    assert list(generate(tiny_family, [])) == []


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"mode": "keyframes", "keyframes": KeyframePlan(interval=9)}, ConfigError, "interval of 9 is longer than the"),
        ({"num_frames": 10}, FamilyError, "does not support 10 frames: use 9"),
        ({"width": 40}, FamilyError, r"sides that are multiples of 16 px, but the request has 9 frames at 40x32"),
        ({"adapter": "run-1"}, ConfigError, "needs adapter 'run-1' on the model"),
    ],
)
def test_what_cannot_be_made_is_refused(
    tiny_family: Any, fields: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        list(generate(tiny_family, [another(**fields)]))


def test_one_bad_request_stops_all_before_work_begins(tiny_family: Any) -> None:
    with pytest.raises(FamilyError):
        next(generate(tiny_family, [REQUEST, another(num_frames=10)]))


def test_a_network_that_overflows_makes_no_clip(tiny_folder: Path, open_family: Any) -> None:
    family = open_family(tiny_folder)
    family.network.proj_out.weight.data.mul_(1e38)
    with pytest.raises(FamilyError, match="became NaN or infinite, so there is no clip: lower the guidance"):
        list(generate(family, [REQUEST]))


def gpu_is_full() -> None:
    raise torch.OutOfMemoryError("no room")


@pytest.mark.parametrize("fill", [gpu_is_full, lambda: torch.empty(2**50), lambda: np.empty(2**50)])
def test_a_full_device_is_said_with_what_to_lower(tiny_family: Any, fill: Callable[[], Any]) -> None:
    """A GPU's error, and those that a CPU truly gives, to torch and to numpy."""

    def no_room(network: Any, inputs: Any) -> None:
        fill()

    hook = tiny_family.network.register_forward_pre_hook(no_room)
    try:
        with pytest.raises(
            FamilyError, match=r"memory is full: 1 clips of 17 frames at 512x256 need about .* GiB"
        ) as it:
            tools = GenerationContext(describe_memory=describe_memory)
            list(generate(tiny_family, [another(num_frames=17, width=512, height=256)], tools))
        assert re.search(
            r"\(networks 0\.0, prompts 0\.0, a pass .* and the device has \d+; one clip of 9 frames needs",
            str(it.value),
        )
        assert "Lower the frames or the size, request fewer variations, use mode 'windows'" in str(it.value)
        with pytest.raises(FamilyError, match=r"1 clips of 9 frames at 32x32 do not fit next to the network's 0.0 GiB"):
            list(generate(tiny_family, [another(model="of-nobody")], tools))
    finally:
        hook.remove()


def test_other_errors_are_not_taken_for_a_full_device(tiny_family: Any) -> None:
    hook = tiny_family.network.register_forward_pre_hook(lambda network, inputs: torch.ones(2, 2) @ torch.ones(3, 3))
    try:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            list(generate(tiny_family, [REQUEST]))
    finally:
        hook.remove()
