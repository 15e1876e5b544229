"""`VideoNFTTrainer`: DiffusionNFT on clips (loss: `engine.algorithms.nft`).

Any sampler can make the rollouts.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from engine.algorithms import nft
from engine.family_interface import ModelFamily, Prediction
from engine.request import GenerationRequest
from engine.sampling.forward_process import predict_x0_and_noise
from engine.training.rollout.part_scoring import PartScoring
from engine.training.rollout.reward_calls import RewardFunc
from engine.training.rollout.rollouts import Rollouts
from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.forward_process import ForwardProcessTrainer, NoisedBatch
from engine.training.trainers.online import RolloutBatch
from engine.training.weights import WeightCopy


class VideoNFTTrainer(ForwardProcessTrainer):
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

    def _generate_rollouts(self, requests: list[GenerationRequest], scoring: PartScoring) -> Rollouts:
        with self.copies["old"].applied():
            return super()._generate_rollouts(requests, scoring)

    def update_copies(self, maker: WeightCopy | None) -> None:
        assert maker is not None, "there is an old policy"
        args = self.args
        maker.ema_update(
            nft.old_policy_decay(
                self.state.global_step,
                flat=args.old_decay_flat,
                slope=args.old_decay_slope,
                most=args.old_decay_most,
            )
        )

    def level_loss(self, noised: NoisedBatch, batch: RolloutBatch) -> Tensor:
        """Return the mean NFT loss of the batch's clips at one draw of noise levels, and log its terms."""
        kind: Prediction = self.family.spec.prediction
        clean, noisy, sigma = noised.clean, noised.noisy, noised.sigma
        optimality = nft.optimality_probability(batch.advantages, self.args.advantage_limit).to(clean.device)
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
        terms = nft.nft_loss(free, estimate(), old, before, optimality, beta=self.args.mixing, kl=self.args.beta)
        self.log_metric(**{"nft/positive": terms.positive, "nft/negative": terms.negative, "kl": terms.kl})
        return terms.loss.mean()
