"""Keyframes and windows in every family: by the training-free ways, by given pictures, by given frames."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.generation.context import ClipReady, GenerationContext, KeyframesReady
from engine.generation.pipeline import MODES, generate
from engine.generation.windows import decode_in_pieces
from engine.request import GivenKeyframe, KeyframePlan, WindowPlan
from engine.seeds import generator_for

ONE_EACH = pytest.mark.parametrize(
    "tiny",
    ["wan", "wan_vace", "animatediff", "cogvideox", "cogvideox15", "hunyuanvideo", "hunyuanvideo15", "mochi"],
    indirect=True,
)


PICTURES = pytest.mark.parametrize(
    "tiny", ["ltx_condition", "ltx2", "wan_vace", "animatediff_sparsectrl"], indirect=True
)
FRAMES = pytest.mark.parametrize("tiny", ["ltx_condition", "ltx2"], indirect=True)
ENDS = pytest.mark.parametrize("tiny", ["wan_flf", "wan_flf_experts"], indirect=True)


def make(family: Any, request: Any, tools: GenerationContext | None = None) -> tuple[Any, Any]:
    """The clip of a request, and its keyframes if it has any."""
    events = list(generate(family, [request], tools))
    keyframes = next((event for event in events if isinstance(event, KeyframesReady)), None)
    return next(event.clip for event in events if isinstance(event, ClipReady)), keyframes


@ONE_EACH
def test_keyframes_come_out_at_their_places(tiny_open: SimpleNamespace) -> None:
    plan = KeyframePlan(interval=4, flow_guidance=0.5)
    request = tiny_open.model.request.model_copy(update={"mode": "keyframes", "keyframes": plan})
    clip, keyframes = make(tiny_open.family, request)
    assert clip.num_frames == request.num_frames and keyframes.places[-1] == request.num_frames - 1
    assert np.array_equal(clip.frames[list(keyframes.places)], keyframes.pictures)
    assert clip.frames.std() > 5


@PICTURES
@pytest.mark.parametrize("source", ["joint", "independent"])
def test_drawn_and_given_keyframes_are_shown_to_the_network(tiny_open: SimpleNamespace, source: Any) -> None:
    """What is given at the first frame reaches the frames between the keyframes, under guidance too."""
    base = tiny_open.model.request.model_copy(update={"mode": "keyframes", "num_steps": 2})
    half = (base.num_frames - 1) // 2
    request = base.model_copy(update={"keyframes": KeyframePlan(interval=half, source=source)})

    def given(name: str) -> Any:
        plan = KeyframePlan(interval=half, source=source, given=(GivenKeyframe(frame=0, picture=name * 64),))
        return request.model_copy(update={"keyframes": plan})

    clips = [make(tiny_open.family, given(name), store(2, base.width))[0].frames for name in "01"]
    assert not np.array_equal(clips[0][0], clips[1][0])
    assert np.abs(clips[0][1:half].astype(int) - clips[1][1:half]).mean() > 1


@FRAMES
def test_windows_go_on_from_given_frames(tiny_open: SimpleNamespace) -> None:
    updates = {"mode": "windows", "windows": WindowPlan(length=17, overlap=8), "num_frames": 22, "num_steps": 2}
    clip, _ = make(tiny_open.family, tiny_open.model.request.model_copy(update=updates))
    assert clip.num_frames == 22 and clip.seams == (17,) and clip.frames.std() > 5


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
    lead = family.spec.lead_latents
    frames_a_latent = 1 if stride == 1 else (request.num_frames - 1) // (latents.shape[2] - lead - 1)
    pieces = decode_in_pieces(family, latents, lead + 3, frames_a_latent)
    assert pieces.shape == (request.num_frames, request.height, request.width, 3)
    first = family.decode(latents[:, :, : lead + 3])[0]
    assert np.array_equal(pieces[: len(first)], first)
    if stride == 1:
        assert np.array_equal(pieces, family.decode(latents)[0])


def given_at(*places: int) -> KeyframePlan:
    given = tuple(GivenKeyframe(frame=place, picture=f"{index}" * 64) for index, place in enumerate(places))
    return KeyframePlan(source="given", given=given, flow_guidance=0.3)


def store(count: int, side: int) -> GenerationContext:
    pictures = np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return GenerationContext(pictures={f"{index}" * 64: picture for index, picture in enumerate(pictures)}.__getitem__)


@ENDS
def test_between_two_pictures_and_the_next_two(tiny_open: SimpleNamespace) -> None:
    """A clip of each stretch: what is given at a far keyframe does not reach it, and its steps are counted."""
    family, tools = tiny_open.family, store(4, 32)
    updates = {"mode": "keyframes", "keyframes": given_at(0, 4, 12), "num_frames": 13}
    request = tiny_open.model.request.model_copy(update=updates)
    events = list(generate(family, [request, request.with_seed(9)], tools))
    clips = [event.clip.frames for event in events if isinstance(event, ClipReady)]
    keyframes = next(event for event in events if isinstance(event, KeyframesReady))
    assert [clip.shape for clip in clips] == [(13, 32, 32, 3)] * 2 and not np.array_equal(*clips)
    assert np.array_equal(clips[0][[0, 4, 12]], keyframes.pictures)
    steps = [event.step for event in events if getattr(event, "phase", "") == "denoise"]
    assert steps == list(range(1, 9)) and MODES["keyframes"].steps(family, request) == 8
    first_two = request.keyframes.given[:2]
    other = given_at(0, 4, 12).model_copy(update={"given": (*first_two, GivenKeyframe(frame=12, picture="3" * 64))})
    alone, changed = (make(family, one, tools)[0] for one in (request, request.model_copy(update={"keyframes": other})))
    assert np.array_equal(changed.frames[:5], alone.frames[:5])
    assert not np.array_equal(changed.frames[5:12], alone.frames[5:12])


@ENDS
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "needs a first picture: set image, or mode 'keyframes' with source 'given'"),
        ({"image": "0" * 64}, "needs a last picture: set last_image"),
        ({"mode": "windows", "image": "0" * 64}, "mode 'windows' takes no first or last picture"),
        ({"mode": "keyframes"}, "generates only frames between given pictures"),
        (
            {"mode": "keyframes", "keyframes": given_at(0, 4)},
            "needs keyframes at the first and the last frame: .* 0 and 8",
        ),
        (
            {"mode": "keyframes", "keyframes": given_at(0, 3, 8)},
            "cannot make the 4 frames from the keyframe at 0 to .* 3",
        ),
    ],
)
def test_what_two_pictures_cannot_say_is_refused(tiny_open: SimpleNamespace, fields: Any, sentence: str) -> None:
    request = tiny_open.model.request.model_copy(update=fields)
    with pytest.raises(ConfigError, match=sentence):
        make(tiny_open.family, request, store(3, 32))
