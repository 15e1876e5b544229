"""`VideoAWMTrainer`: advantage-weighted matching on clips (losses: `engine.algorithms.awm`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import awm
from engine.family_interface import ModelFamily
from engine.training.rollout.reward_calls import RewardFunc
from engine.training.trainer_settings import VideoAWMConfig
from engine.training.trainers.forward_process import ForwardProcessTrainer, NoisedBatch
from engine.training.trainers.online import RolloutBatch
from engine.training.weights import ReferencePolicy, WeightCopy


class VideoAWMTrainer(ForwardProcessTrainer):
    """Trainer of AWM, RVM and DGPO, which `weighting` chooses.

    The old policy is the one that made the rollouts; a moving average is a second reference.
    """

    args: VideoAWMConfig

    def __init__(
        self,
        model: ModelFamily | str,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: VideoAWMConfig | None = None,
        train_dataset: Any = None,
        **others: Any,
    ) -> None:
        super().__init__(model, reward_funcs, args or VideoAWMConfig(), train_dataset, **others)
        if self.args.weighting != "rvm":
            self.copies["old"] = WeightCopy(self.family.network)
        if self.args.moving_beta > 0:
            self.copies["moving"] = WeightCopy(self.family.network)

    def update_copies(self, maker: WeightCopy | None) -> None:
        super().update_copies(maker)
        if "moving" in self.copies:
            args, step = self.args, self.state.global_step
            decay = awm.reference_decay(step, slope=args.moving_decay_slope, most=args.moving_decay_most)
            self.copies["moving"].ema_update(decay)

    @property
    def clips_together(self) -> int:
        return int(self.args.num_generations or 1) if self.args.weighting == "dgpo" else 1

    def level_loss(self, noised: NoisedBatch, batch: RolloutBatch) -> Tensor:
        """Return the mean loss of the batch's clips at one draw of noise levels, and log its terms."""
        conditioning = self.prompts.of(batch.requests)
        target = conditioning.free(noised.target)

        def output() -> Tensor:
            return conditioning.free(self.family.predict(noised.noisy, noised.sigma, conditioning).float())

        def error_of(prediction: Tensor) -> Tensor:
            return awm.matching_error(prediction, target, noised.sigma, self.args.time_weight)

        fixed: dict[str, Tensor] = {}
        for name, weights in self._compared().items():
            with weights.applied():
                fixed[name] = output()
        prediction = output()
        advantage = batch.advantages.to(prediction.device)
        loss = self._weighted(error_of(prediction), {name: error_of(other) for name, other in fixed.items()}, advantage)
        pulls = {"start": self.args.beta, "moving": self.args.moving_beta}
        pull = torch.zeros_like(loss)
        for name, weight in pulls.items():
            if weight > 0:
                pull = pull + weight * (prediction - fixed[name]).square().mean()
        self.log_metric(kl=pull)
        return loss + pull

    def _compared(self) -> dict[str, WeightCopy | ReferencePolicy]:
        """Return the weights that the loss compares the policy with."""
        start = self.args.beta > 0 or self.args.weighting == "dgpo"
        copies: dict[str, WeightCopy | ReferencePolicy] = {
            name: self.copies[name] for name in ("old", "moving") if name in self.copies
        }
        return {**copies, **({"start": self.reference} if start else {})}

    def _weighted(self, error: Tensor, fixed: Mapping[str, Tensor], advantage: Tensor) -> Tensor:
        """Return the mean loss from the matching errors of the policy and of the weights compared with it."""
        args = self.args
        if args.weighting == "rvm":
            return awm.rvm_loss(error, advantage).mean()
        if args.weighting == "awm":
            terms = awm.awm_loss(error, fixed["old"], advantage, clip_range=args.epsilon)
        else:
            terms = awm.dgpo_loss(
                error,
                fixed["old"],
                fixed["start"],
                advantage,
                group_size=self.clips_together,
                beta=args.preference_beta,
                clip_range=args.epsilon,
            )
        self.log_metric(**{"awm/ratio": terms.ratio, "awm/clipped": terms.clipped})
        return terms.loss.mean()
