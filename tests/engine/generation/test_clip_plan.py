"""Where keyframes and windows lie, for any length; and plans that cannot be followed, each in one sentence."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.families.registry import family_spec
from engine.generation.clip_plan import blended_windows, check_plan, continued_windows, keyframe_places
from engine.generation.validation import check_request
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan, WindowPlan

PICTURE = "0" * 64
LTX, ANIMATEDIFF = family_spec("ltx"), family_spec("animatediff")


def request(mode: str = "keyframes", num_frames: int = 33, **fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt="a red circle", mode=mode, num_frames=num_frames, **fields)


def given_at(*frames: int) -> tuple[GivenKeyframe, ...]:
    return tuple(GivenKeyframe(frame=frame, picture=PICTURE) for frame in frames)


@given(num_frames=st.integers(2, 300), interval=st.integers(2, 40))
def test_keyframes_are_regular_and_end_the_clip(num_frames: int, interval: int) -> None:
    places = keyframe_places(request(num_frames=num_frames, keyframes=KeyframePlan(interval=interval)))
    assert places[0] == 0 and places[-1] == num_frames - 1
    assert all(0 < later - earlier <= interval for earlier, later in pairwise(places))


def test_given_keyframes_join_the_drawn_ones_or_stand_alone() -> None:
    joint = KeyframePlan(interval=16, given=given_at(5, 16))
    assert keyframe_places(request(keyframes=joint)) == (0, 5, 16, 32)
    alone = KeyframePlan(source="given", given=given_at(20, 5))
    assert keyframe_places(request(keyframes=alone)) == (5, 20)


@given(num_frames=st.integers(1, 400), length=st.integers(30, 129), overlap=st.integers(1, 20))
@pytest.mark.parametrize("spec", [LTX, ANIMATEDIFF], ids=["ltx", "animatediff"])
def test_continued_windows_cover_the_clip(spec: Any, num_frames: int, length: int, overlap: int) -> None:
    windows = continued_windows(
        request("windows", num_frames, windows=WindowPlan(length=length, overlap=overlap)), spec
    )
    assert windows[0].start == 0 and windows[0].given == 0
    assert num_frames <= windows[-1].stop < num_frames + spec.frame_stride + spec.frame_offset + 1
    for before, after in pairwise(windows):
        assert after.start + after.given == before.stop and after.start >= 0
        assert spec.allows_frames(after.given) and after.given == spec.nearest_frames(overlap)
        assert after.stop - after.start <= windows[0].stop and after.stop > before.stop
        assert after is windows[-1] or after.stop - after.start == windows[0].stop
    assert all(spec.allows_frames(window.stop - window.start) for window in windows)


@given(total=st.integers(1, 300), length=st.integers(4, 64), data=st.data())
def test_blended_windows_cover_the_clip(total: int, length: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(1, length // 2))
    windows = blended_windows(total, length, overlap)
    assert windows[0][0] == 0 and windows[-1][1] == total
    for (_, stop), (start, _) in pairwise(windows):
        assert stop - start >= overlap
    assert all(stop - start == min(length, total) for start, stop in windows)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_frames": 1}, "1 frame has no frames between keyframes"),
        ({"keyframes": KeyframePlan(interval=40)}, "interval of 40 is longer than the clip of 33 frames: use 32"),
        ({"keyframes": KeyframePlan(given=given_at(33))}, "given at frame 33, but the clip's last frame is 32"),
        ({"keyframes": KeyframePlan(given=given_at(8, 8))}, "Two keyframes are given at one frame"),
        ({"keyframes": KeyframePlan(source="given")}, "needs at least one given keyframe"),
        ({"mode": "windows", "windows": WindowPlan(length=32, overlap=32)}, "cannot overlap by 32: use at most 16"),
        ({"mode": "windows", "windows": WindowPlan(length=9, overlap=8)}, "use a length of at least 17"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_plan(request(**fields), LTX)
    with pytest.raises(ConfigError, match=sentence):
        check_request(request(**fields))


def test_other_modes_have_no_plan_to_refuse() -> None:
    check_plan(request("direct", 1, keyframes=KeyframePlan(interval=40)), LTX)


def test_windows_lift_the_rule_for_frames_but_not_the_models_reach() -> None:
    check_request(request("windows", 500))
    check_request(request("windows", 50, windows=WindowPlan(length=500, overlap=16)))
    with pytest.raises(ConfigError, match="at most 129 frames at once, but a window would have 201"):
        check_request(request("windows", 500, windows=WindowPlan(length=200, overlap=16)))
    with pytest.raises(ConfigError, match="at most 129 frames at once.* or use mode 'windows'"):
        check_request(request("keyframes", 161))


def test_stretches_may_be_as_long_as_a_clip_and_no_longer() -> None:
    def ask(*places: int) -> GenerationRequest:
        plan = KeyframePlan(source="given", given=given_at(*places))
        return request(num_frames=161, model="wan21_flf_14b", width=832, height=480, keyframes=plan)

    check_request(ask(0, 80, 160))
    with pytest.raises(ConfigError, match=r"at most 81 frames at once, .* = 121: .* add a keyframe in between"):
        check_request(ask(0, 40, 160))
