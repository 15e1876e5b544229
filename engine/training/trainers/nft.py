"""`VideoNFTTrainer`: DiffusionNFT on clips (loss: `engine.algorithms.nft`).

Any sampler can make the rollouts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import nft
from engine.model_spec import ModelFamily, Prediction
from engine.request import GenerationRequest
from engine.sampling.forward_process import add_noise, predict_x0_and_noise
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for, seed_for, unit_noise
from engine.training.distributed.process_group import local_slice, world_size
from engine.training.rollout.reward_calls import RewardFunc
from engine.training.rollout.rollouts import Rollouts
from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.online import OnlineTrainer, RolloutBatch
from engine.training.weights import WeightCopy


class VideoNFTTrainer(OnlineTrainer):
    """DiffusionNFT trainer. Rollouts come from the old policy, a delayed copy of the trained weights."""

    args: VideoNFTConfig

    def __init__(
        self,
        model: ModelFamily | str,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: VideoNFTConfig | None = None,
        train_dataset: Any = None,
        **others: Any,
    ) -> None:
        super().__init__(model, reward_funcs, args or VideoNFTConfig(), train_dataset, **others)
        self.copies["old"] = WeightCopy(self.family.network)
        self._old_at = -1

    def _generate_rollouts(self, requests: list[GenerationRequest]) -> Rollouts:
        self._follow()
        with self.copies["old"].applied():
            return super()._generate_rollouts(requests)

    def _follow(self) -> None:
        """Update the old policy before a rollout, at most once a step."""
        if self.state.global_step != self._old_at:
            args = self.args
            decay = nft.old_policy_decay(
                self.state.global_step,
                flat=args.old_decay_flat,
                slope=args.old_decay_slope,
                most=args.old_decay_most,
            )
            self.copies["old"].blend(decay)
            self._old_at = self.state.global_step

    def losses(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        """Yield one part for each noise level; their sum is the mean over levels and clips."""
        clean = inputs.rollouts.latents[inputs.index]
        optimality = nft.optimality_probability(inputs.advantages, self.args.advantage_limit).to(clean.device)
        levels = self._levels(clean)
        for draw, sigma in enumerate(levels):
            yield self._level_loss(clean, optimality, inputs, sigma, draw) / len(levels)

    def _level_loss(self, clean: Tensor, optimality: Tensor, batch: RolloutBatch, sigma: Tensor, draw: int) -> Tensor:
        kind: Prediction = self.family.spec.prediction
        rows = range(world_size() * len(clean))[local_slice(len(clean))]
        generators = [generator_for(self._draw_seed(draw, row)) for row in rows]
        noisy = add_noise(kind, clean, unit_noise(clean.shape[1:], generators).to(clean), sigma)
        conditioning = self.prompts.of(batch.requests)

        def estimate() -> Tensor:
            prediction = self.family.predict(noisy, sigma, conditioning)
            return conditioning.free(predict_x0_and_noise(kind, prediction, noisy, sigma)[0])

        with self.copies["old"].applied():
            old = estimate()
        before = None
        if self.args.beta > 0:
            with self.reference.applied():
                before = estimate()
        free = conditioning.free(clean)
        found = nft.nft_loss(free, estimate(), old, before, optimality, beta=self.args.mixing, kl=self.args.beta)
        self.log_metric(**{"nft/positive": found.positive, "nft/negative": found.negative, "kl": found.kl})
        return found.loss.mean()

    def _levels(self, clean: Tensor) -> list[Tensor]:
        """Draw `levels_per_clip` noise levels for each clip from those of the rollouts' schedule."""
        tokens = clean.shape[2:].numel()
        grid = sigmas_for(self.family.scheduler_config, self.template.num_steps, tokens)[:-1].float()
        shape = (self.args.levels_per_clip, world_size() * len(clean))
        picks = torch.randint(len(grid), shape, generator=generator_for(self._draw_seed(-1, 0)))
        return list(grid[picks[:, self.local_level_slice(len(clean))]].clamp(max=1 - 1e-3).to(clean))

    def _draw_seed(self, draw: int, row: int) -> int:
        at = seed_for(self.args.seed, step=self.state.global_step, prompt=draw + 1, sample=self.micro_step)
        return seed_for(at, sample=row)
