"""Long clips window by window on the toy model: any length, seams where windows meet, one window's work at a time."""

from typing import Any

import numpy as np
import pytest
import torch

from engine.generation.context import ClipReady, Progress
from engine.generation.pipeline import generate
from engine.generation.windows import shuffled_noise
from engine.request import GenerationRequest, WindowPlan
from engine.seeds import generator_for

PLAN = WindowPlan(length=17, overlap=8)  # for LTX 17 frames and 9
REQUEST = GenerationRequest(
    prompt="a red circle moving right",
    num_frames=41,
    width=32,
    height=32,
    num_steps=3,
    guidance=2.0,
    mode="windows",
    windows=PLAN,
    seed=5,
)


def another(**fields: Any) -> GenerationRequest:
    return REQUEST.model_copy(update=fields)


def clips(family: Any, *requests: GenerationRequest) -> list[Any]:
    found = {event.request.id: event.clip for event in generate(family, requests) if isinstance(event, ClipReady)}
    return [found[request.id] for request in requests]


@pytest.mark.parametrize(("num_frames", "seams"), [(7, ()), (17, ()), (20, (17,)), (41, (17, 25, 33))])
def test_any_length_and_where_windows_meet(tiny_family: Any, num_frames: int, seams: tuple[int, ...]) -> None:
    (clip,) = clips(tiny_family, another(num_frames=num_frames))
    assert clip.frames.shape == (num_frames, 32, 32, 3) and clip.seams == seams
    assert clip.frames.std() > 5


def test_the_first_window_is_a_clip_by_itself(tiny_family: Any) -> None:
    (clip,) = clips(tiny_family, REQUEST)
    (alone,) = clips(tiny_family, another(num_frames=17, mode="direct"))
    assert np.array_equal(clip.frames[:9], alone.frames[:9]), "up to where the second window fades in"


def test_a_window_knows_the_end_of_the_one_before(tiny_family: Any) -> None:
    """Another start, the same later noise: what follows is another."""
    first, other = clips(tiny_family, another(num_frames=25), another(num_frames=25, negative_prompt="grey"))
    assert not np.array_equal(first.frames[17:], other.frames[17:])


def test_the_network_never_sees_more_than_a_window(tiny_family: Any) -> None:
    """So memory does not grow with the clip: tokens a call are those of one window, with both branches of guidance."""
    seen: list[int] = []
    hook = tiny_family.network.register_forward_pre_hook(
        lambda network, inputs, named: seen.append(named["hidden_states"][..., 0].numel()), with_kwargs=True
    )
    try:
        clips(tiny_family, REQUEST)
        long = max(seen)
        seen.clear()
        clips(tiny_family, another(num_frames=17))
    finally:
        hook.remove()
    assert long == max(seen)


def test_a_clip_is_the_same_in_any_batch(tiny_family: Any) -> None:
    requests = [another(seed=seed, num_frames=25) for seed in (1, 2, 3)]
    together = clips(tiny_family, *requests)
    (alone,) = clips(tiny_family, requests[1])
    assert np.abs(alone.frames.astype(int) - together[1].frames).max() <= 2


def test_progress_counts_the_steps_of_all_windows(tiny_family: Any) -> None:
    told = [event for event in generate(tiny_family, [REQUEST]) if isinstance(event, Progress)]
    steps = [event.step for event in told if event.phase == "denoise"]
    assert steps == list(range(1, 13)) and {event.of for event in told} == {12}


def test_later_noise_is_earlier_noise_in_another_order() -> None:
    noise = torch.randn(2, 30, 3, 3, generator=generator_for(1))
    shuffled = shuffled_noise(noise, 12, 4, generator_for(2))
    assert torch.equal(shuffled[:, :12], noise[:, :12])
    for frame in range(12, 30):
        copies = [(shuffled[:, frame] == noise[:, source]).all() for source in range(12)]
        assert sum(copies) == 1, "one of the first window's"
    one_run = {float(value) for value in shuffled[0, 12:20, 0, 0]}
    assert one_run == {float(value) for value in noise[0, :8, 0, 0]}, "a run before it, shuffled"
