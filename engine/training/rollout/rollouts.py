"""Rollouts: clips of the policy with the denoising steps that their update needs, made by `denoise`."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.errors import TrainingError
from engine.family_interface import ModelFamily, Prediction
from engine.request import GenerationRequest
from engine.sampling.forward_process import expected_std
from engine.sampling.sampler import DenoiseStep, denoise
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.sampling.steps import ODE_STEPS, StepFunction, for_rows
from engine.seeds import generator_for
from engine.training.data.prompt_embeddings import PromptEmbeddings
from rewards.clip import Clip

NOISE_LIMIT = 2.0
"""Most noise that one step may add, as a multiple of the std of the latents that it leads to."""
DECODED_TOGETHER = 2  # clips: their pixels wait side by side, and a small autoencoder takes two as fast as one


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """A denoising step of each of N clips, which need not have the same number in all of them.

    `index`, `sigma`, `sigma_next` and `noise_std` have one value a clip. `latents`, `next_latents` and `mean` (of a
    SDE step, see `DenoiseStep`) are `[N,C,t,h,w]`, `log_prob` is float32[N]. All are on the CPU: an update reads
    each once, and together they may be larger than the model.
    """

    index: tuple[int, ...]
    sigma: tuple[float, ...]
    sigma_next: tuple[float, ...]
    noise_std: tuple[float, ...]
    latents: Tensor
    next_latents: Tensor
    log_prob: Tensor | None
    mean: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """N clips of one shape: requests, final latents `float32[N,C,t,h,w]`, frames, and the kept steps.

    `steps` are the kept steps in order, each with the latents of all N clips. Consecutive ones share the latents
    between them, so there are (K + 1) x N x C x t x h x w numbers. `rewards` are `float32[N,R]` where actors have
    already scored the clips. `decode_s` is the decoding time.
    """

    requests: list[GenerationRequest]
    latents: Tensor
    clips: list[Clip]
    steps: list[KeptStep]
    rewards: Tensor | None = None
    decode_s: float = 0.0


def generate_rollouts(
    family: ModelFamily,
    requests: Sequence[GenerationRequest],
    prompts: PromptEmbeddings,
    *,
    sde_step_function: StepFunction | None = None,
    kept: Sequence[Sequence[int]] | None = None,
    batch: int = 16,
    sigmas: Tensor | None = None,
    means: bool = False,
    decode: bool = True,
    decoded: Callable[[Sequence[Clip]], None] | None = None,
) -> Rollouts:
    """Generate a clip for each request; its steps in `kept` use `sde_step_function` and are kept.

    `kept` has the step numbers of each request, as many for one as for another; None keeps no step. The requests may
    differ only in prompt, pictures and seed. `means` keeps the means of SDE steps too. `sigmas` replaces the model's
    own noise levels; without `decode` there are latents but no clips. `decoded` is called with each few clips as soon
    as they are decoded, in order. Raises TrainingError when a step adds too much noise (see `excess_noise`), or when
    latents are not finite.
    """
    kept = [()] * len(requests) if kept is None else kept
    parts = []
    for start in range(0, len(requests), batch):
        few, steps = requests[start : start + batch], kept[start : start + batch]
        parts.append(_generate_batch(family, few, prompts, sde_step_function, steps, sigmas, means, decode, decoded))
    made = concat_rollouts(parts)
    if not made.latents.isfinite().all():
        raise TrainingError("The policy's clips became NaN: the run stops before they reach the weights.")
    return made


def excess_noise(of: Prediction, index: int, sigma_next: float, std: float) -> str | None:
    """Return a message where a step's noise of `std` far exceeds the std of latents at `sigma_next`.

    Return None otherwise. `index` is the step's number, from 0.
    """
    wanted = expected_std(of, sigma_next)
    if std <= NOISE_LIMIT * wanted:
        return None
    return (
        f"Step {index + 1} of the rollout adds noise of std {std:.3g} to latents whose std should be {wanted:.3g}, "
        "which buries what the model made: lower noise_level, choose another sde_form, or take more num_steps."
    )


def concat_rollouts(parts: Sequence[Rollouts]) -> Rollouts:
    """Concatenate several rollouts in order."""
    rewards = [part.rewards for part in parts if part.rewards is not None]
    return Rollouts(
        requests=[request for part in parts for request in part.requests],
        latents=torch.cat([part.latents for part in parts]),
        clips=[clip for part in parts for clip in part.clips],
        steps=_linked([_concat_steps(steps) for steps in zip(*(part.steps for part in parts), strict=True)]),
        rewards=torch.cat(rewards) if rewards else None,
        decode_s=sum(part.decode_s for part in parts),
    )


def stack_steps(steps: Sequence[KeptStep], rows: Sequence[int], device: torch.device | str = "cpu") -> KeptStep:
    """Return the steps of the clips `rows` as one step of `len(steps) * len(rows)` clips, on a device."""
    step = _concat_steps([_rows_of(step, rows) for step in steps])
    return replace(
        step,
        latents=step.latents.to(device),
        next_latents=step.next_latents.to(device),
        log_prob=None if step.log_prob is None else step.log_prob.to(device),
        mean=None if step.mean is None else step.mean.to(device),
    )


def to_device(rollouts: Rollouts, device: torch.device) -> Rollouts:
    """Move the finished latents to a device; frames, steps and rewards stay on the CPU."""
    return replace(rollouts, latents=rollouts.latents.to(device))


def _linked(steps: Sequence[KeptStep]) -> list[KeptStep]:
    """Let consecutive steps share the latents between them."""
    linked = list(steps[:1])
    for step in steps[1:]:
        before = linked[-1]
        follows = all(now == earlier + 1 for now, earlier in zip(step.index, before.index, strict=True))
        linked.append(replace(step, latents=before.next_latents) if follows else step)
    return linked


@torch.no_grad()
def _generate_batch(
    family: ModelFamily,
    requests: Sequence[GenerationRequest],
    prompts: PromptEmbeddings,
    sde_step_function: StepFunction | None,
    wanted: Sequence[Sequence[int]],
    sigmas: Tensor | None,
    means: bool,
    decode: bool,
    decoded: Callable[[Sequence[Clip]], None] | None,
) -> Rollouts:
    first = requests[0]
    generators = [generator_for(request.seed) for request in requests]
    latents = family.init_latents(first, generators)
    conditioning = prompts.of(requests)
    if sigmas is None:
        sigmas = sigmas_for(family.scheduler_config, first.num_steps, num_tokens(latents, conditioning.extras))
    steps = denoise(
        family,
        latents,
        sigmas,
        conditioning,
        negative=prompts.negatives_of(requests),
        guidance=first.guidance,
        step=[_step_at(index, wanted, sde_step_function, family.spec.prediction) for index in range(len(sigmas) - 1)],
        generators=generators,
    )
    kept: list[list[tuple[KeptStep, int]]] = [[] for _ in requests]  # of each clip: a step, and its row there
    for step in steps:
        if told := excess_noise(family.spec.prediction, step.index, step.sigma_next, step.noise_std):
            raise TrainingError(f"The run stops before its weights change. {told}")
        latents = step.next_latents
        rows = [row for row, numbers in enumerate(wanted) if step.index in numbers]
        if rows:
            one = _kept(step, rows, means)
            for place, row in enumerate(rows):
                kept[row].append((one, place))
    latents[..., 0].sum().item()  # waits for the device: what follows is decoding alone
    began = time.perf_counter()
    clips: list[Clip] = []
    for start in range(0, len(requests) if decode else 0, DECODED_TOGETHER):
        few = slice(start, start + DECODED_TOGETHER)
        clips += [
            Clip(frames=shown, fps=first.fps, prompt=request.prompt, first_picture=prompts.first_picture(request))
            for shown, request in zip(family.decode(latents[few]), requests[few], strict=True)
        ]
        if decoded is not None:
            decoded(clips[start:])
    decode_s = time.perf_counter() - began
    chosen = _linked([_joined(steps) for steps in zip(*kept, strict=True)])
    return Rollouts(requests=list(requests), latents=latents, clips=clips, steps=chosen, decode_s=decode_s)


def _step_at(
    index: int, wanted: Sequence[Sequence[int]], sde_step_function: StepFunction | None, prediction: Prediction
) -> StepFunction | None:
    """Return the step function of a batch at step `index`: random for the clips that want this step."""
    rows = [row for row, numbers in enumerate(wanted) if index in numbers]
    if sde_step_function is None or not rows:
        return None
    return sde_step_function if len(rows) == len(wanted) else for_rows(sde_step_function, ODE_STEPS[prediction], rows)


def _kept(step: DenoiseStep, rows: Sequence[int], means: bool) -> KeptStep:
    """One step of some clips of a batch, on the CPU."""

    def on_cpu(values: Tensor) -> Tensor:
        chosen = values if len(rows) == len(values) else values[list(rows)]
        return chosen.cpu()  # in pageable memory: the steps may be larger than what can be pinned

    return KeptStep(
        index=(step.index,) * len(rows),
        sigma=(step.sigma,) * len(rows),
        sigma_next=(step.sigma_next,) * len(rows),
        noise_std=(step.noise_std,) * len(rows),
        latents=on_cpu(step.latents),
        next_latents=on_cpu(step.next_latents),
        log_prob=None if step.log_prob is None else on_cpu(step.log_prob),
        mean=on_cpu(step.mean) if means and step.mean is not None else None,
    )


def _joined(parts: Sequence[tuple[KeptStep, int]]) -> KeptStep:
    """The steps of the clips of a batch, each given with its row there, as one."""
    step = parts[0][0]
    whole = all(one is step and place == row for row, (one, place) in enumerate(parts))
    return step if whole else _concat_steps([_rows_of(one, [place]) for one, place in parts])


def _rows_of(step: KeptStep, rows: Sequence[int]) -> KeptStep:
    index = list(rows)
    return KeptStep(
        index=tuple(step.index[row] for row in index),
        sigma=tuple(step.sigma[row] for row in index),
        sigma_next=tuple(step.sigma_next[row] for row in index),
        noise_std=tuple(step.noise_std[row] for row in index),
        latents=step.latents[index],
        next_latents=step.next_latents[index],
        log_prob=None if step.log_prob is None else step.log_prob[index],
        mean=None if step.mean is None else step.mean[index],
    )


def _concat_steps(steps: Sequence[KeptStep]) -> KeptStep:
    """A step of several clips or batches, as one."""
    if len(steps) == 1:
        return steps[0]
    log_probs = [step.log_prob for step in steps if step.log_prob is not None]
    means = [step.mean for step in steps if step.mean is not None]
    return KeptStep(
        index=tuple(number for step in steps for number in step.index),
        sigma=tuple(level for step in steps for level in step.sigma),
        sigma_next=tuple(level for step in steps for level in step.sigma_next),
        noise_std=tuple(std for step in steps for std in step.noise_std),
        latents=torch.cat([step.latents for step in steps]),
        next_latents=torch.cat([step.next_latents for step in steps]),
        log_prob=torch.cat(log_probs) if log_probs else None,
        mean=torch.cat(means) if means else None,
    )
