"""Keyframes first, then what lies between: on the toy model for the rules, on `mini` for what it is good for."""

from typing import Any

import numpy as np
import pytest
import torch

from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.families.registry import open_model
from engine.generation.context import (
    ClipReady,
    GenerationContext,
    KeyframesReady,
    Progress,
    ProgressCounter,
    denoise_to_end,
    encode,
)
from engine.generation.keyframes import KeyframeBatch, draft_steps
from engine.generation.pipeline import generate
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for
from rewards.clip import Clip
from rewards.suite import RewardSuite

REQUEST = GenerationRequest(
    prompt="a red circle moving right", num_frames=17, width=32, height=32, num_steps=6, mode="keyframes", seed=5
)
PLAN = KeyframePlan(interval=8, keyframe_guidance=3.0, inbetween_guidance=2.0)


def another(**fields: Any) -> GenerationRequest:
    return REQUEST.model_copy(update={"keyframes": PLAN, **fields})


def planned(**fields: Any) -> GenerationRequest:
    return another(keyframes=PLAN.model_copy(update=fields))


def run(
    family: Any, *requests: GenerationRequest, tools: GenerationContext | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Clips and keyframes in the order of the requests, and the progress told."""
    events = list(generate(family, requests, tools))
    clips = {event.request.id: event.clip for event in events if isinstance(event, ClipReady)}
    keyframes = {event.request.id: event for event in events if isinstance(event, KeyframesReady)}
    told = [event for event in events if isinstance(event, Progress)]
    return [clips[r.id] for r in requests], [keyframes[r.id] for r in requests], told


def drain_all(steps: Any) -> Any:
    """The value of a generator, its progress thrown away."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("source", ["joint", "independent"])
@pytest.mark.parametrize("flow_guidance", [0.0, 0.7])
def test_keyframes_come_out_at_their_places(tiny_family: Any, source: Any, flow_guidance: float) -> None:
    (clip,), (keyframes,), _ = run(tiny_family, planned(source=source, flow_guidance=flow_guidance))
    assert clip.frames.shape == (17, 32, 32, 3) and clip.seams == ()
    assert keyframes.places == (0, 8, 16) and keyframes.pictures.shape == (3, 32, 32, 3)
    assert np.array_equal(clip.frames[[0, 8, 16]], keyframes.pictures)
    assert clip.frames.std() > 5 and keyframes.pictures.std() > 5


def test_the_draft_agrees_with_itself_and_single_keyframes_do_not_know_each_other(tiny_family: Any) -> None:
    _, (joint, alone, moved), _ = run(
        tiny_family, planned(), planned(source="independent"), planned(source="independent", interval=16)
    )
    assert not np.array_equal(joint.pictures, alone.pictures)
    assert np.array_equal(alone.pictures[[0, 2]], moved.pictures), "a keyframe's noise is its place's"


def test_progress_counts_both_stages(tiny_family: Any) -> None:
    *_, told = run(tiny_family, another())
    drafted = draft_steps(REQUEST)
    steps = [event.step for event in told if event.phase == "denoise"]
    assert steps == list(range(drafted + 6 - len(steps) + 1, drafted + 7)), "those that the draft saves count as done"
    assert 0 < len(steps) < 6
    assert {event.of for event in told} == {drafted + 6} and told[-1].phase == "decode"
    shown = [event for event in told if isinstance(event, KeyframesReady)]
    assert [event.step for event in shown] == [drafted], "the strip is there before the in-betweens begin"


def test_keyframes_may_be_looked_at_first_and_one_drawn_anew(tiny_family: Any) -> None:
    events = list(generate(tiny_family, [another()], GenerationContext(only_keyframes=True)))
    drawn = next(event for event in events if isinstance(event, KeyframesReady))
    assert not any(isinstance(event, ClipReady) for event in events)
    store = {f"{index}" * 64: picture for index, picture in enumerate(drawn.pictures)}
    kept = tuple(GivenKeyframe(frame=place, picture=f"{index}" * 64) for index, place in enumerate((0, 8)))
    again = planned(given=kept).with_seed(99)
    (clip,), (keyframes,), _ = run(tiny_family, again, tools=GenerationContext(pictures=store.__getitem__))
    assert np.array_equal(keyframes.pictures[:2], drawn.pictures[:2])
    assert not np.array_equal(keyframes.pictures[2], drawn.pictures[2])
    assert np.array_equal(clip.frames[[0, 8]], drawn.pictures[:2])


def test_what_is_drawn_knows_what_is_given(tiny_family: Any) -> None:
    """The same seed, another given picture: in a family that takes pictures the drawn keyframes are others too."""
    store = {"a" * 64: picture(20), "b" * 64: picture(230)}
    requests = [planned(given=(GivenKeyframe(frame=0, picture=name),)) for name in store]
    _, (dark, bright), _ = run(tiny_family, *requests, tools=GenerationContext(pictures=store.__getitem__))
    assert (dark.pictures[0] == 20).all() and (bright.pictures[0] == 230).all()
    assert not np.array_equal(dark.pictures[1:], bright.pictures[1:])


def test_of_several_drafts_the_best_by_the_mix_is_taken(tiny_family: Any) -> None:
    chosen = planned(drafts=3, choose_by="mini_train")
    _, (keyframes,), told = run(tiny_family, chosen)
    assert told[-1].of == 3 * draft_steps(REQUEST) + 6
    prompts = encode(tiny_family, [chosen], GenerationContext(), 3.0)
    scene = KeyframeBatch(family=tiny_family, requests=[chosen], prompts=prompts, counter=ProgressCounter(of=99))
    suite, totals, pictures = RewardSuite(load_preset("rewards", "mini_train")), [], []
    for number in range(3):
        noise = scene.noise(number)
        with torch.no_grad():
            steps = denoise_to_end(
                tiny_family, noise, scene.sigmas(noise, draft_steps(chosen)), prompts, 3.0, scene.counter
            )
            frames = tiny_family.decode(drain_all(steps))[0]
        totals.append(suite.score(Clip(frames=frames, fps=chosen.fps, prompt=chosen.prompt)).total)
        pictures.append(frames[[0, 8, 16]])
    assert len(set(totals)) == 3 and np.array_equal(keyframes.pictures, pictures[int(np.argmax(totals))])


def test_what_lies_between_keeps_to_the_draft_unless_it_is_pulled(tiny_family: Any) -> None:
    """Little noise over the draft leaves few steps to make; the pull is strong early, so it is given all of them."""

    def inbetween_steps(**plan: Any) -> int:
        *_, told = run(tiny_family, planned(**plan))
        return sum(event.phase == "denoise" for event in told)

    assert inbetween_steps() < inbetween_steps(flow_guidance=0.5) <= REQUEST.num_steps


def test_drafts_are_not_chosen_from_without_a_mix(tiny_family: Any) -> None:
    with pytest.raises(ConfigError, match="2 drafts need a mix of rewards"):
        run(tiny_family, planned(drafts=2))


def test_guidances_and_the_pull_matter(tiny_family: Any) -> None:
    requests = [planned(), planned(inbetween_guidance=5.0), planned(keyframe_guidance=6.0), planned(flow_guidance=1.0)]
    clips, keyframes, _ = run(tiny_family, *requests)
    assert not any(np.array_equal(clips[0].frames, clip.frames) for clip in clips[1:])
    assert np.array_equal(keyframes[0].pictures, keyframes[1].pictures)
    assert not np.array_equal(keyframes[0].pictures, keyframes[2].pictures)


def test_a_clip_is_the_same_in_any_batch(tiny_family: Any) -> None:
    requests = [another(seed=seed) for seed in (1, 2, 3)]
    together, _, _ = run(tiny_family, *requests)
    (alone,), _, _ = run(tiny_family, requests[1])
    apart = np.abs(alone.frames.astype(int) - together[1].frames)
    assert apart[[0, 8, 16]].max() <= 2
    assert apart.mean() <= 1, "flow on this model's noise is chaotic: a level of difference may move some pixels far"


def picture(value: int, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def given_at(frame: int, name: str = "a") -> GivenKeyframe:
    return GivenKeyframe(frame=frame, picture=name * 64)


def test_given_pictures_come_out_exactly(tiny_family: Any) -> None:
    tools = GenerationContext(pictures={"a" * 64: picture(200), "b" * 64: picture(30)}.__getitem__)
    replaced, alone = planned(given=(given_at(8),)), planned(source="given", given=(given_at(3), given_at(16, "b")))
    clips, keyframes, told = run(tiny_family, replaced, alone, tools=tools)
    assert keyframes[0].places == (0, 8, 16) and keyframes[1].places == (3, 16)
    assert (clips[0].frames[8] == 200).all() and not (clips[0].frames[0] == 200).all()
    assert (clips[1].frames[3] == 200).all() and (clips[1].frames[16] == 30).all()
    assert told[-1].of == draft_steps(REQUEST) + 6 + 6, "nothing is drawn where all is given"


@pytest.mark.parametrize(
    ("pictures", "sentence"),
    [
        ({"a" * 64: picture(9, side=16)}.__getitem__, "given at frame 8 is 16x16 px, but the clip is 32x32: crop"),
        (None, "need a store of pictures, but the context has none"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(tiny_family: Any, pictures: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(tiny_family, planned(given=(given_at(8),)), tools=GenerationContext(pictures=pictures))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def test_mini_follows_the_pictures_it_is_given(mini_folder: Any) -> None:
    """Before they are put in their places: what the network and the decoder alone make of the keyframes' frames."""
    family = open_model(load_preset("models", "mini"), device="cpu")
    shown = REQUEST.model_copy(update={"width": 64, "height": 64, "num_steps": 10, "seed": 8, "mode": "direct"})
    wanted = next(event.clip for event in generate(family, [shown]) if isinstance(event, ClipReady)).frames[[0, 8, 16]]
    other = shown.model_copy(update={"seed": 9})
    prompts = encode(family, [other], GenerationContext(), 3.0)
    noise = family.init_latents(other, [generator_for(other.seed)])
    sigmas = sigmas_for(family.scheduler_config, other.num_steps, noise.shape[2:].numel())

    def made(told: Any) -> np.ndarray:
        with torch.no_grad():
            latents = drain_all(denoise_to_end(family, noise, sigmas, told, 3.0, ProgressCounter(of=other.num_steps)))
        return family.decode(latents)[0][[0, 8, 16]]

    followed = made(prompts.with_extras(**family.encode_pictures(wanted[None], (0, 8, 16), 17)))
    assert psnr(followed, wanted) >= 24
    assert psnr(followed, wanted) > psnr(made(prompts), wanted) + 5
