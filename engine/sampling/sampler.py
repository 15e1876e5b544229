"""The sampling loop `denoise`, from noise to latents: the repository's only loop over noise levels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.family_interface import Conditioning, Predictor
from engine.sampling.steps import ODE_STEPS, StepFunction, StepResult
from engine.seeds import unit_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseStep:
    """Step `index` of K, from `latents[B,C,t,h,w]` at `sigma` to `next_latents` at `sigma_next`.

    `log_prob` float32[B], `noise_std` and `mean`, the expected `next_latents`, describe the random part; they are None,
    0 and None for a deterministic step.
    """

    index: int
    sigma: float
    sigma_next: float
    latents: Tensor
    next_latents: Tensor
    log_prob: Tensor | None
    noise_std: float
    mean: Tensor | None = None


def guided_prediction(
    family: Predictor,
    latents: Tensor,
    sigma: float | Tensor,
    conditioning: Conditioning,
    negative: Conditioning | None = None,
    guidance: float = 1.0,
) -> Tensor:
    """Run the network with classifier-free guidance (arXiv:2207.12598), in one differentiable call.

    `sigma` is one level for all clips, `[B]`, or `[B,t]`. With guidance of 1 or less, or without `negative`, the result
    is the plain output. A family with embedded guidance takes it as an input and runs once; it ignores `negative`.
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


def take_step(
    step: StepFunction,
    prediction: Tensor,
    latents: Tensor,
    sigma: float,
    sigma_next: float,
    conditioning: Conditioning,
    *,
    noise: Tensor | None = None,
    next_latents: Tensor | None = None,
) -> StepResult:
    """Take a step of the latent frames that are not given, or score `next_latents`.

    The result is of these frames. `Conditioning.whole` adds a given first frame to its latents.
    """
    free = conditioning.free
    return step(
        free(prediction),
        free(latents),
        sigma,
        sigma_next,
        noise=None if noise is None else free(noise),
        next_latents=None if next_latents is None else free(next_latents),
    )


def denoise_with_graph(
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
    """Denoise `latents[B,C,t,h,w]` along `sigmas[K+1]`, yielding each step; stop iterating to cancel.

    `step` is one function for all steps, or K of them (SDE inside a window, None outside). None selects the
    deterministic step for the family's prediction type. `generators`, one a clip, serve steps that draw noise. Every
    step draws once, even if it does not use the noise, so a step's noise does not depend on the kind of earlier steps.
    A first frame that the conditioning gives is clean in all latents, and no part of a step's log-probability.
    Gradients flow through the steps; `denoise` is the same without them.
    """
    latents = conditioning.whole(conditioning.free(latents))
    levels = [float(sigma) for sigma in sigmas]
    chosen = [step] * (len(levels) - 1) if step is None or callable(step) else step
    functions = [ODE_STEPS[family.spec.prediction] if function is None else function for function in chosen]
    assert len(functions) == len(levels) - 1, f"{len(functions)} step functions for {len(levels) - 1} steps"
    for index, advance in enumerate(functions):
        sigma, sigma_next = levels[index], levels[index + 1]
        prediction = guided_prediction(family, latents, sigma, conditioning, negative, guidance)
        noise = None if generators is None else unit_noise(latents.shape[1:], generators)
        result = take_step(advance, prediction, latents, sigma, sigma_next, conditioning, noise=noise)
        next_latents = conditioning.whole(result.next_latents)
        yield DenoiseStep(
            index=index,
            sigma=sigma,
            sigma_next=sigma_next,
            latents=latents,
            next_latents=next_latents,
            log_prob=result.log_prob,
            noise_std=result.std,
            mean=result.mean if result.std > 0 else None,
        )
        latents = next_latents


denoise = torch.no_grad()(denoise_with_graph)
