"""`VideoGRPOTrainer`: Flow-GRPO, DanceGRPO and MixGRPO on clips (loss: `engine.algorithms.grpo`)."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import grpo
from engine.errors import ConfigError
from engine.model_spec import ModelFamily
from engine.sampling.sampler import DenoiseStep, guided_prediction, take_step
from engine.sampling.steps import StepFunction, ddim_step, sde_step
from engine.training.rollout.reward_calls import RewardFunc
from engine.training.trainer_settings import VideoGRPOConfig
from engine.training.trainers.online import OnlineTrainer, RolloutBatch
from engine.training.weights import simulated_first_update


class VideoGRPOTrainer(OnlineTrainer):
    """GRPO trainer with the interface of `trl.GRPOTrainer`.

    Each random denoising step is one action. Logs `ratio/*`, `clip_ratio` and `kl` in addition to TRL's reward metrics.
    """

    args: VideoGRPOConfig

    def __init__(
        self,
        model: ModelFamily | str,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: VideoGRPOConfig | None = None,
        train_dataset: Any = None,
        **others: Any,
    ) -> None:
        super().__init__(model, reward_funcs, args or VideoGRPOConfig(), train_dataset, **others)
        flow = self.family.spec.prediction == "flow"
        if flow == (self.args.sde_form == "ddim"):
            fitting = "flow_grpo, dance or cps" if flow else "ddim"
            raise ConfigError(
                f"sde_form '{self.args.sde_form}' is not for {self.family.spec.title}, whose network predicts "
                f"{self.family.spec.prediction}: use {fitting}."
            )
        self.window()

    def random_step(self) -> StepFunction:
        if self.args.sde_form == "ddim":
            return partial(ddim_step, eta=self.args.random_level, prediction_type=self.family.spec.prediction)
        return partial(sde_step, form=self.args.sde_form, noise_level=self.args.random_level)

    def window(self) -> range:
        num_steps = self.template.num_steps
        size = self.args.window or num_steps - 1
        try:
            return grpo.window_steps(num_steps, size, self.iteration, every=self.args.window_every)
        except ValueError as error:
            raise ConfigError(f"The window of random steps is wrong: {error}.") from error

    def losses(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        """Yield one part for each random step; their sum is the mean over steps and clips."""
        steps = inputs.rollouts.steps
        for step in steps:
            yield self._step_loss(step, inputs) / len(steps)

    def _step_loss(self, step: DenoiseStep, batch: RolloutBatch) -> Tensor:
        assert step.log_prob is not None, "a kept step is random"
        latents, taken = step.latents[batch.index], step.next_latents[batch.index]
        replayed = self._replay(step, batch, latents, taken)
        assert replayed.log_prob is not None
        found = grpo.policy_loss(
            replayed.log_prob,
            step.log_prob[batch.index],
            batch.advantages.to(latents.device),
            clip_low=self.args.epsilon,
            clip_high=self.args.epsilon_high,
        )
        loss = found.loss
        self.log_metric(**{"ratio/spread": found.log_ratio.abs().max(), "clip_ratio": found.clipped})
        if self.args.beta > 0:
            with self.reference.applied():
                ref_mean = self._replay(step, batch, latents, taken).mean
            kl = grpo.step_kl(replayed.mean, ref_mean, step.noise_std)
            self.log_metric(kl=kl)
            loss = loss + self.args.beta * kl
        return loss.mean()

    def _replay(self, step: DenoiseStep, batch: RolloutBatch, latents: Tensor, taken: Tensor) -> Any:
        """Repeat a rollout's step with the current weights and the rollout's guidance."""
        conditioning = self.prompts.of(batch.requests)
        prediction = guided_prediction(
            self.family,
            latents,
            step.sigma,
            conditioning,
            self.prompts.negatives_of(batch.requests),
            self.template.guidance,
        )
        levels = (step.sigma, step.sigma_next)
        return take_step(self.random_step(), prediction, latents, *levels, conditioning, next_latents=taken)

    def replay_error(self, batch: RolloutBatch) -> float:
        """Return the largest |log ratio| between rollout and replay; before any update it should be 0."""
        return float(self._log_ratios(batch).abs().max())

    def first_log_ratios(self, batches: Sequence[RolloutBatch]) -> Tensor:
        """Return the first batch's log ratios `[steps x B]` after a simulated update on `batches`.

        The clip range should match them. The weights are restored afterwards.
        """
        for batch in batches:
            for part in self.losses(batch):
                (part / len(batches)).backward()
        args: Any = self.args
        clipping = {"max_norm": args.max_grad_norm or 0.0, "epsilon": args.adam_epsilon}
        with simulated_first_update(self.family.network, args.learning_rate, **clipping):
            return self._log_ratios(batches[0])

    @torch.no_grad()
    def _log_ratios(self, batch: RolloutBatch) -> Tensor:
        """Return log ratios of the current policy to the rollout's, `[steps x B]`."""
        log_ratios = []
        for step in batch.rollouts.steps:
            replayed = self._replay(step, batch, step.latents[batch.index], step.next_latents[batch.index])
            assert step.log_prob is not None, "a kept step is random"
            log_ratios.append(replayed.log_prob - step.log_prob[batch.index])
        return torch.cat(log_ratios)
