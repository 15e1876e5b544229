"""`denoise`: from noise to latents. The only loop over noise levels in the repository; everyone drains this one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.model_spec import Conditioning, Predictor
from engine.sampling.steps import ODE_STEPS, StepFunction
from engine.seeds import unit_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseStep:
    """Step `index` of K took `latents[B,C,t,h,w]` at noise level `sigma` to `next_latents` at `sigma_next`.

    `log_prob` float32[B] and `noise_std` belong to the random part; a deterministic step has None and 0.
    """

    index: int
    sigma: float
    sigma_next: float
    latents: Tensor
    next_latents: Tensor
    log_prob: Tensor | None
    noise_std: float


def guided_prediction(
    family: Predictor,
    latents: Tensor,
    sigma: float | Tensor,
    conditioning: Conditioning,
    negative: Conditioning | None = None,
    guidance: float = 1.0,
) -> Tensor:
    """The network's output with classifier-free guidance (arXiv:2207.12598), both branches in one call; gradients flow.

    `sigma` is one level for all, or `[B]` or `[B,t]`. Guidance of 1 or less, or no `negative`, is the plain output. A
    family that embeds the guidance is told it and runs once; it has no use for `negative`.
    """
    num_clips = latents.shape[0]
    levels = torch.as_tensor(sigma, dtype=torch.float32, device=latents.device)
    if levels.ndim == 0:
        levels = levels.expand(num_clips)
    if family.spec.embedded_guidance:
        return family.predict(latents, levels, replace(conditioning, guidance=guidance))
    if negative is None or guidance <= 1:
        return family.predict(latents, levels, conditioning)
    prompts = replace(negative.concat(conditioning), fps=conditioning.fps)
    both = family.predict(torch.cat([latents] * 2), torch.cat([levels] * 2), prompts)
    without, with_prompt = both.split(num_clips)
    return without + guidance * (with_prompt - without)


@torch.no_grad()
def denoise(
    family: Predictor,
    latents: Tensor,
    sigmas: Tensor,
    conditioning: Conditioning,
    *,
    negative: Conditioning | None = None,
    guidance: float = 1.0,
    step: StepFunction | Sequence[StepFunction | None] | None = None,
    generators: Sequence[torch.Generator] | None = None,
) -> Iterator[DenoiseStep]:
    """Walk `latents[B,C,t,h,w]` down `sigmas[K+1]`, yielding each step; stop iterating to cancel.

    `step` is one function for all steps, or K of them (SDE inside a window, None outside). None is the step without
    fresh noise that suits the family's prediction. `generators`, one a clip, are for steps that draw noise; each step
    takes one draw whether it uses it or not, so that a step's noise does not depend on what the steps before it were.
    """
    levels = [float(sigma) for sigma in sigmas]
    given = [step] * (len(levels) - 1) if step is None or callable(step) else step
    steps = [ODE_STEPS[family.spec.prediction] if one is None else one for one in given]
    assert len(steps) == len(levels) - 1, f"{len(steps)} step functions for {len(levels) - 1} steps"
    for index, advance in enumerate(steps):
        sigma, sigma_next = levels[index], levels[index + 1]
        prediction = guided_prediction(family, latents, sigma, conditioning, negative, guidance)
        noise = None if generators is None else unit_noise(latents.shape[1:], generators)
        taken = advance(prediction, latents, sigma, sigma_next, noise=noise)
        yield DenoiseStep(
            index=index,
            sigma=sigma,
            sigma_next=sigma_next,
            latents=latents,
            next_latents=taken.next_latents,
            log_prob=taken.log_prob,
            noise_std=taken.std,
        )
        latents = taken.next_latents
