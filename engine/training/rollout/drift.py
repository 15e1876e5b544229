"""Distance of the policy's predictions from those of the model before training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.estimation.run_estimate import clips_together
from engine.request import GenerationRequest
from engine.sampling.forward_process import add_noise
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.seeds import generator_for, seed_for, unit_noise

PARTS = 3
"""Parts of the schedule; the predictions are compared in the middle of each."""


@torch.no_grad()
def drift_of(
    trainer: Any, clean: Tensor, requests: Sequence[GenerationRequest], levels: Sequence[float] | None = None
) -> Tensor:
    """Return `float32[N]`: |prediction - reference's|^2 / |reference's|^2 of each clip.

    It is the mean over the levels that the clips are noised to (None: some of the run's schedule). `trainer` is a
    `DiffusionTrainer`, `clean[N,C,t,h,w]` the latents of the requests' clips. Steps of the policy and of the reference
    are Gaussians of one std, so their KL is this times a factor of the schedule (`engine.algorithms.grpo.step_kl`).
    """
    family, size = trainer.family, inference_batch_size(trainer)
    seeds = [seed_for(request.seed, sample=1) for request in requests]
    noise = unit_noise(clean.shape[1:], [generator_for(seed) for seed in seeds]).to(clean)
    conditioning = trainer.prompts.of(requests)
    if levels is None:
        tokens = num_tokens(clean, conditioning.extras)
        levels = middle_levels(sigmas_for(family.scheduler_config, trainer.template.num_steps, tokens)[:-1].tolist())
    total = torch.zeros(len(clean), device=clean.device)
    for share in levels:
        level = torch.full((len(clean),), share).to(clean)
        noisy = add_noise(family.spec.prediction, clean, noise, level)
        for start in range(0, len(clean), size):
            rows = slice(start, start + size)
            given = (noisy[rows], level[rows], conditioning.rows(rows))
            now = conditioning.free(family.predict(*given).float())
            with trainer.reference.applied():
                before = conditioning.free(family.predict(*given).float())
            moved, whole = ((now - before).square().flatten(1).mean(1), before.square().flatten(1).mean(1))
            total[rows] += moved / whole.clamp(min=1e-9)
    return (total / len(levels)).cpu()


def middle_levels(schedule: Sequence[float]) -> list[float]:
    """Return the levels in the middle of equal parts of a schedule.

    Both experts of Wan 2.2 predict at some of them.
    """
    places = dict.fromkeys((2 * part + 1) * len(schedule) // (2 * PARTS) for part in range(PARTS))
    return [schedule[place] for place in places]


def inference_batch_size(trainer: Any) -> int:
    """Return the number of clips in a pass without gradients, which the memory estimate counts on."""
    return clips_together(vars(trainer.args))
