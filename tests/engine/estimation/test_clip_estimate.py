"""Memory estimates of clips: they grow with number and length, and are bounded by a window."""

from typing import Any

import pytest

from engine.config.presets import load_model_preset
from engine.estimation.clip_estimate import estimate_clip
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan, WindowPlan

WAN = load_model_preset("wan21_1_3b")


def peak(count: int = 1, model: Any = WAN, **fields: Any) -> float:
    need = estimate_clip(model, GenerationRequest(**{**model.defaults(), "prompt": "x", **fields}), count)
    assert need is not None and need.peak == need.weights + max(need.text, need.passes, need.decoding)
    return need.peak


def test_the_networks_are_the_presets() -> None:
    need = estimate_clip(WAN, GenerationRequest(prompt="x", **WAN.defaults()), 1)
    assert need is not None and WAN.network is not None
    assert need.network == pytest.approx(1.419e9 * 2 / 2**30, rel=0.01)
    assert need.vae == pytest.approx(1.269e8 * 4 / 2**30, rel=0.01), "it computes in float32"
    assert need.others == 0 and need.text > 10, "the text encoder waits on the CPU until a prompt comes"
    resident = estimate_clip(
        WAN.model_copy(update={"offload_text": False}), GenerationRequest(prompt="x", **WAN.defaults()), 1
    )
    assert resident is not None and resident.others == pytest.approx(need.text, rel=0.02)


def test_more_clips_and_longer_ones_need_more() -> None:
    assert peak(8) > peak(1)
    assert peak(8, num_frames=41) < peak(8)
    assert peak(8, guidance=1.0) < peak(8, guidance=5.0)


def test_windows_need_as_much_as_one_window() -> None:
    windows = {"mode": "windows", "windows": WindowPlan(length=81, overlap=16)}
    assert peak(num_frames=400, **windows) == peak(num_frames=81) < peak(num_frames=400)


def test_stretches_need_as_much_as_the_longest() -> None:
    sized = load_model_preset("wan21_flf_14b").model_copy(update={"network": WAN.network})

    def stretches(*places: int) -> float:
        given = tuple(GivenKeyframe(frame=frame, picture="0" * 64) for frame in places)
        plan = KeyframePlan(source="given", given=given)
        return peak(8, sized, mode="keyframes", num_frames=places[-1] + 1, keyframes=plan)

    assert stretches(0, 40, 80) == stretches(0, 40) < stretches(0, 80)


def test_keyframes_need_what_the_highest_guidance_of_their_plan_does() -> None:
    def planned(keyframes: float, inbetween: float, **fields: float) -> float:
        plan = KeyframePlan(keyframe_guidance=keyframes, inbetween_guidance=inbetween)
        return peak(8, mode="keyframes", keyframes=plan, **fields)

    assert planned(7.0, 3.0, guidance=1.0) == planned(1.0, 3.0, guidance=1.0) == peak(8, guidance=5.0)
    assert planned(1.0, 1.0, guidance=5.0) == peak(8, guidance=1.0)


def test_nothing_is_foretold_of_a_model_of_unknown_size() -> None:
    unknown = WAN.model_copy(update={"network": None})
    assert estimate_clip(unknown, GenerationRequest(prompt="x", **WAN.defaults()), 1) is None
