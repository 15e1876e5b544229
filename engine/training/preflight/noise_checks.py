"""Preflight checks of the noise that a rollout adds.

One uses the schedule alone, the others the latents of the clips.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

from engine.sampling.steps import noise_surplus
from engine.training.preflight.preflight_check import PreflightCheck
from engine.training.rollout.rollouts import Rollouts, excess_noise, generate_rollouts
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.online import OnlineTrainer

LATENTS_LIMIT = 1.5
"""Maximum ratio of the std of random latents to that of deterministic ones."""
SCALE_LIMIT = 30
"""Maximum ratio between the finished latents' std and 1. A schedule that begins at a signal of 0.04 amplifies a noise
predictor that ignores its latents 25 times; larger factors, or their inverses, indicate a wrong scale."""
SURPLUS_LIMIT = 1.1
"""Maximum noise after an SDE step, as a multiple of its noise level. Steps near the end leave it in the clips."""
NUM_COMPARED_CLIPS = 2
"""Number of clips that are made again without SDE steps."""


def noise_checks(trainer: OnlineTrainer) -> list[PreflightCheck]:
    """Check that SDE steps add noise in proportion to their latents; nothing without SDE steps."""
    advance = trainer.sde_step_function()
    if advance is None:
        return []
    family, levels = trainer.family, trainer.noise_levels()
    nothing = torch.zeros(1, 1)
    steps = [advance(nothing, nothing, *pair, noise=nothing).std for pair in pairwise(levels)]
    excesses = [excess_noise(family.spec.prediction, at, levels[at + 1], std) for at, std in enumerate(steps)]
    if worst := next((sentence for sentence in excesses if sentence), None):
        return [PreflightCheck(name="noise", level="stop", sentence=worst)]
    random = [std for std in steps if std > 0] or [0.0]
    sentence = f"The SDE steps add noise of std {min(random):.2g} to {max(random):.2g}."
    return [PreflightCheck(name="noise", level="ok", sentence=sentence), *_surplus(trainer, levels)]


def _surplus(trainer: OnlineTrainer, levels: Sequence[float]) -> Iterator[PreflightCheck]:
    """Compare the noise that the last SDE step leaves with its noise level, for a perfect model."""
    advance = trainer.sde_step_function()
    if advance is None or not isinstance(trainer, VideoGRPOTrainer):
        return
    last = trainer.reached_steps()[-1]
    surplus = noise_surplus(advance, trainer.family.spec.prediction, levels[last], levels[last + 1])
    finding = (
        f"The last SDE step (step {last + 1} of {len(levels) - 1}) leaves {surplus:.2f} times the noise of its level"
    )
    if surplus <= SURPLUS_LIMIT:
        yield PreflightCheck(name="excess_noise", level="ok", sentence=f"{finding}.")
        return
    advice = "lower noise_level, set sde_form to cps, or choose earlier steps (step_share)"
    sentence = f"{finding}, so rewards may score noise that Generate does not make: {advice}."
    yield PreflightCheck(name="excess_noise", level="warning", sentence=sentence)


def latents_check(trainer: OnlineTrainer, made: Rollouts) -> PreflightCheck:
    """Compare the std of the rollouts' latents with that of deterministic sampling at the same levels.

    A stochastic step should preserve the distribution of the latents. Without SDE steps only the finished latents
    are checked: they should have unit variance, as the VAE scales them.
    """
    final = float(made.latents.float().std())
    if not 1 / SCALE_LIMIT <= final <= SCALE_LIMIT:
        sentence = (
            f"The finished latents have std {final:.3g} where about 1 is expected: the model's VAE or scheduler is not "
            "the one that its network was trained with. Correct the preset, or the model's folder."
        )
        return PreflightCheck(name="latents", level="stop", sentence=sentence, outside=True)
    if not made.steps:
        return PreflightCheck(name="latents", level="ok", sentence=f"The finished latents have std {final:.2f}.")
    few = made.requests[:NUM_COMPARED_CLIPS]
    plain = generate_rollouts(trainer.family, few, trainer.prompts, kept=trainer.sde_steps(few), decode=False)
    stds = [
        [
            float(latents[: len(few)].float().std())
            for latents in (*(step.next_latents for step in way.steps), way.latents)
        ]
        for way in (made, plain)
    ]
    worst = max((max(a / b, b / a), a, b) for a, b in zip(*stds, strict=True))
    finding = f"The latents have std {worst[1]:.2f} where the deterministic sampler gives {worst[2]:.2f}"
    if worst[0] > LATENTS_LIMIT:
        advice = "lower noise_level, choose another sde_form, or take more num_steps"
        return PreflightCheck(
            name="latents", level="stop", sentence=f"{finding}: the SDE steps spoil the clips; {advice}."
        )
    return PreflightCheck(name="latents", level="ok", sentence=f"{finding}.")
