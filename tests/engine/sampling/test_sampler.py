"""`denoise` against diffusers' own pipeline, and what every caller relies on."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.request import GenerationRequest
from engine.sampling.sampler import DenoiseStep, denoise, guided_prediction
from engine.sampling.schedules import sigmas_for
from engine.sampling.steps import Form, ode_step, sde_step
from engine.seeds import generator_for

PROMPTS = ["a red circle moving right", "the blue star over a meadow"]
REQUEST = GenerationRequest(prompt=PROMPTS[0], num_frames=17, width=64, height=48, fps=12.0, num_steps=6)
FORMS: list[Form] = ["flow_grpo", "dance", "cps"]


def start(family: Any, request: GenerationRequest = REQUEST, seeds: tuple[int, ...] = (3, 4)) -> SimpleNamespace:
    """Everything that `denoise` takes, for as many clips as there are seeds."""
    latents = family.init_latents(request, [generator_for(seed) for seed in seeds])
    conditioning = replace(family.encode(PROMPTS[: len(seeds)]), fps=request.fps)
    negative = family.encode([""] * len(seeds))
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, latents.shape[2:].numel())
    return SimpleNamespace(latents=latents, sigmas=sigmas, conditioning=conditioning, negative=negative)


def walk(family: Any, begin: SimpleNamespace, **options: Any) -> list[DenoiseStep]:
    return list(denoise(family, begin.latents, begin.sigmas, begin.conditioning, **options))


def pipelines_latents(folder: Path, begin: SimpleNamespace, request: GenerationRequest, guidance: float) -> Any:
    """diffusers' own answer, `[B,C,t,h,w]`, from the same latents and prompt embeddings."""
    from diffusers import LTXPipeline

    pipeline = LTXPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    tokens = pipeline(
        prompt_embeds=begin.conditioning.embeds,
        prompt_attention_mask=begin.conditioning.mask,
        negative_prompt_embeds=begin.negative.embeds,
        negative_prompt_attention_mask=begin.negative.mask,
        width=request.width,
        height=request.height,
        num_frames=request.num_frames,
        frame_rate=request.fps,
        num_inference_steps=request.num_steps,
        guidance_scale=guidance,
        latents=begin.latents.flatten(2).transpose(1, 2),
        output_type="latent",
    ).frames
    return tokens.transpose(1, 2).unflatten(2, begin.latents.shape[2:])


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("which", ["tiny_folder", "mini_folder"])
def test_the_ode_path_is_diffusers_own(
    which: str, guidance: float, request: pytest.FixtureRequest, open_family: Any
) -> None:
    folder = request.getfixturevalue(which)
    family = open_family(folder)
    wanted = REQUEST.model_copy(update={"height": 64})
    begin = start(family, wanted)
    theirs = pipelines_latents(folder, begin, wanted, guidance)
    ours = walk(family, begin, negative=begin.negative, guidance=guidance)[-1].next_latents
    assert ours.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-4


def test_steps_chain_and_say_where_they_are(tiny_family: Any) -> None:
    begin = start(tiny_family)
    steps = walk(tiny_family, begin)
    assert [step.index for step in steps] == list(range(6))
    assert [step.sigma for step in steps] == begin.sigmas[:-1].tolist()
    assert [step.sigma_next for step in steps] == begin.sigmas[1:].tolist()
    assert torch.equal(steps[0].latents, begin.latents)
    for before, after in pairwise(steps):
        assert after.latents is before.next_latents
    assert all(step.log_prob is None and step.noise_std == 0 for step in steps)
    assert not steps[-1].next_latents.requires_grad


def test_stopping_early_runs_no_further_step(tiny_family: Any) -> None:
    begin = start(tiny_family)
    calls: list[float] = []

    def counted(prediction: Any, latents: Any, sigma: float, sigma_next: float, **given: Any) -> Any:
        calls.append(sigma)
        return ode_step(prediction, latents, sigma, sigma_next)

    steps = denoise(tiny_family, begin.latents, begin.sigmas, begin.conditioning, step=counted)
    for step in steps:
        if step.index == 2:
            steps.close()
    assert calls == begin.sigmas[:3].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_no_noise_is_the_ode_bit_for_bit(tiny_family: Any, form: Form) -> None:
    begin = start(tiny_family)
    ode = walk(tiny_family, begin)
    generators = [generator_for(7), generator_for(8)]
    sde = walk(tiny_family, begin, step=partial(sde_step, form=form, noise_level=0.0), generators=generators)
    assert all(torch.equal(a.next_latents, b.next_latents) for a, b in zip(ode, sde, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_replayed_log_probs_have_ratio_one(tiny_family: Any, form: Form) -> None:
    begin = start(tiny_family)
    step = partial(sde_step, form=form, noise_level=0.5)
    guided = {"negative": begin.negative, "guidance": 2.0}
    steps = walk(tiny_family, begin, step=step, generators=[generator_for(1), generator_for(2)], **guided)
    random = [taken for taken in steps if taken.log_prob is not None]
    assert len(random) == 5, "all but the last step are random"
    for taken in random:
        prediction = guided_prediction(tiny_family, taken.latents, taken.sigma, begin.conditioning, **guided)
        again = step(prediction, taken.latents, taken.sigma, taken.sigma_next, next_latents=taken.next_latents)
        assert again.log_prob is not None and taken.log_prob is not None
        assert ((again.log_prob - taken.log_prob).exp() - 1).abs().max() <= 1e-5
        assert again.std == taken.noise_std > 0


def test_a_window_of_sde_steps_among_ode_steps(tiny_family: Any) -> None:
    begin = start(tiny_family)
    noisy = partial(sde_step, form="cps", noise_level=0.8)
    steps = walk(
        tiny_family,
        begin,
        step=[ode_step, ode_step, noisy, noisy, ode_step, ode_step],
        generators=[generator_for(1), generator_for(2)],
    )
    assert [step.log_prob is not None for step in steps] == [False, False, True, True, False, False]
    ode = walk(tiny_family, begin)
    assert torch.equal(steps[1].next_latents, ode[1].next_latents)
    assert not torch.allclose(steps[2].next_latents, ode[2].next_latents, atol=1e-2)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_clip_does_not_depend_on_its_batch(tiny_family: Any, guidance: float) -> None:
    step = partial(sde_step, form="flow_grpo", noise_level=0.7)
    both = start(tiny_family)
    alone = start(tiny_family, seeds=(3,))
    assert torch.equal(both.latents[:1], alone.latents)
    options = {"step": step, "guidance": guidance}
    many = walk(tiny_family, both, generators=[generator_for(5), generator_for(6)], negative=both.negative, **options)
    one = walk(tiny_family, alone, generators=[generator_for(5)], negative=alone.negative, **options)
    assert (many[-1].next_latents[:1] - one[-1].next_latents).abs().max() <= 1e-4


def test_guidance_extrapolates_from_the_negative_prompt(tiny_family: Any) -> None:
    begin = start(tiny_family)
    levels = torch.full((2,), 0.6)
    with_prompt = tiny_family.predict(begin.latents, levels, begin.conditioning)
    plain = guided_prediction(tiny_family, begin.latents, 0.6, begin.conditioning, begin.negative, 1.0)
    assert torch.equal(plain, with_prompt)
    negative = replace(begin.negative, fps=REQUEST.fps)
    without = tiny_family.predict(begin.latents, levels, negative)
    guided = guided_prediction(tiny_family, begin.latents, 0.6, begin.conditioning, negative, 4.0)
    assert (guided - (without + 4 * (with_prompt - without))).abs().max() <= 1e-4
    assert (guided - plain).abs().max() > 1e-3


def test_gradients_reach_the_latents_through_the_prediction(tiny_family: Any) -> None:
    begin = start(tiny_family)
    latents = begin.latents.clone().requires_grad_()
    guided_prediction(tiny_family, latents, 0.5, begin.conditioning, begin.negative, 2.0).square().mean().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0
