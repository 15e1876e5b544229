"""`VideoAWMTrainer`: advantage-weighted matching on clips (loss: `engine.algorithms.awm`)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from engine.algorithms import awm
from engine.model_spec import ModelFamily
from engine.request import GenerationRequest
from engine.training.rollout.reward_calls import RewardFunc
from engine.training.rollout.rollouts import Rollouts
from engine.training.trainer_settings import VideoAWMConfig
from engine.training.trainers.forward_process import ForwardProcessTrainer, NoisedBatch
from engine.training.trainers.online import Decoded, RolloutBatch
from engine.training.weights import WeightCopy


class VideoAWMTrainer(ForwardProcessTrainer):
    """AWM trainer.

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
        self.copies["old"] = WeightCopy(self.family.network)
        if self.args.moving_beta > 0:
            self.copies["moving"] = WeightCopy(self.family.network)
        self._followed_at = -1

    def _generate_rollouts(self, requests: list[GenerationRequest], decoded: Decoded = None) -> Rollouts:
        self._follow()
        return super()._generate_rollouts(requests, decoded)

    def _follow(self) -> None:
        """Set the old policy to the current one, and move the moving reference, at most once a step."""
        step = self.state.global_step
        if step == self._followed_at:
            return
        self._followed_at = step
        self.copies["old"].blend(0.0)
        if "moving" in self.copies:
            args = self.args
            decay = awm.reference_decay(step, slope=args.moving_decay_slope, most=args.moving_decay_most)
            self.copies["moving"].blend(decay)

    def level_loss(self, noised: NoisedBatch, batch: RolloutBatch) -> Tensor:
        """Return the mean AWM loss of the batch's clips at one draw of noise levels, and log its terms."""
        conditioning = self.prompts.of(batch.requests)

        def output() -> Tensor:
            return conditioning.free(self.family.predict(noised.noisy, noised.sigma, conditioning).float())

        def error_of(prediction: Tensor) -> Tensor:
            target = conditioning.free(noised.target)
            return awm.matching_error(prediction, target, noised.sigma, self.args.time_weight)

        with self.copies["old"].applied():
            old_error = error_of(output())
        references: list[tuple[float, Tensor]] = []
        if self.args.beta > 0:
            with self.reference.applied():
                references.append((self.args.beta, output()))
        if self.args.moving_beta > 0:
            with self.copies["moving"].applied():
                references.append((self.args.moving_beta, output()))
        prediction = output()
        found = awm.awm_loss(
            error_of(prediction),
            old_error,
            batch.advantages.to(prediction.device),
            clip_range=self.args.epsilon,
            divergences=tuple(
                (weight, (prediction - other).square().flatten(1).mean(1)) for weight, other in references
            ),
        )
        self.log_metric(**{"awm/ratio": found.ratio, "awm/clipped": found.clipped, "kl": found.kl})
        return found.loss.mean()
