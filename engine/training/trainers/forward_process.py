"""`ForwardProcessTrainer`: base class of online trainers on the forward process.

They learn from noised copies of the rollouts' clean latents. Any sampler can make the rollouts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.sampling.forward_process import add_noise, training_target
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for, seed_for, unit_noise
from engine.training.distributed.process_group import local_slice, world_size
from engine.training.rollout.noise_levels import NUM_UNIFORM_LEVELS
from engine.training.trainers.online import OnlineTrainer, RolloutBatch

MAX_LEVEL = 1 - 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisedBatch:
    """Clean latents, their noised copies at levels `sigma[B]`, the noise, and the ideal network output."""

    clean: Tensor
    noisy: Tensor
    target: Tensor
    sigma: Tensor


class ForwardProcessTrainer(OnlineTrainer):
    """Base of trainers on the forward process; a subclass implements `level_loss`."""

    def level_loss(self, noised: NoisedBatch, batch: RolloutBatch) -> Tensor:
        """Return the mean loss of the batch's clips at one draw of noise levels."""
        raise NotImplementedError

    def losses(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        """Yield one part for each noise level; their sum is the mean over levels and clips."""
        clean = inputs.rollouts.latents[inputs.index]
        levels = self._levels(clean)
        for draw, sigma in enumerate(levels):
            yield self.level_loss(self._noised(clean, sigma, draw), inputs) / len(levels)

    def _noised(self, clean: Tensor, sigma: Tensor, draw: int) -> NoisedBatch:
        kind = self.family.spec.prediction
        rows = range(world_size() * len(clean))[local_slice(len(clean))]
        generators = [generator_for(self._draw_seed(draw, row // self.clips_together)) for row in rows]
        noise = unit_noise(clean.shape[1:], generators).to(clean)
        return NoisedBatch(
            clean=clean,
            noisy=add_noise(kind, clean, noise, sigma),
            target=training_target(kind, clean, noise, sigma),
            sigma=sigma,
        )

    def _levels(self, clean: Tensor) -> list[Tensor]:
        """Draw `levels_per_clip` noise levels for each clip; clips that stay together have the same."""
        tokens, together = clean.shape[2:].numel(), self.clips_together
        steps = NUM_UNIFORM_LEVELS if self.args.train_levels == "uniform" else self.template.num_steps
        grid = sigmas_for(self.family.scheduler_config, steps, tokens)[:-1].float()
        shape = (self.args.levels_per_clip, world_size() * len(clean))
        trained = max(1, int(self.args.level_share * len(grid)))
        picks = torch.randint(trained, shape, generator=generator_for(self._draw_seed(-1, 0)))
        picks = picks[:, ::together].repeat_interleave(together, 1)
        return list(grid[picks[:, self.local_level_slice(len(clean))]].clamp(max=MAX_LEVEL).to(clean))

    def _draw_seed(self, draw: int, row: int) -> int:
        at = seed_for(self.args.seed, step=self.state.global_step, prompt=draw + 1, sample=self.micro_step)
        return seed_for(at, sample=row)
