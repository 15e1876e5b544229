"""`VideoGRPOTrainer`: GRPO on clips, in the forms that `engine.algorithms.grpo` names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor

from engine.algorithms import grpo
from engine.errors import ConfigError
from engine.family_interface import ModelFamily
from engine.request import GenerationRequest
from engine.sampling.sampler import guided_prediction, take_step
from engine.sampling.steps import Form, StepFunction, ddim_step, prediction_gain, sde_step
from engine.seeds import generator_for, seed_for
from engine.training.rollout.reward_calls import RewardFunc
from engine.training.rollout.rollouts import KeptStep, stack_steps
from engine.training.trainer_settings import VideoGRPOConfig
from engine.training.trainers.online import OnlineTrainer, RolloutBatch
from engine.training.weights import simulated_first_update


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A kept step of a batch, taken again with the current weights: `mean`, and per clip `[B]` the rest.

    `log_ratio` is relative to the rollout, as the loss uses it; `divergence` is the KL from the rollout's step, where
    `ratio` needs it.
    """

    mean: Tensor
    std: Tensor
    log_ratio: Tensor
    divergence: Tensor | None


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
            fitting = ", ".join(get_args(Form)) if flow else "ddim"
            raise ConfigError(
                f"sde_form '{self.args.sde_form}' is not for {self.family.spec.title}, whose network predicts "
                f"{self.family.spec.prediction}: use {fitting}."
            )
        self.sde_steps([self.template])
        if self.shares_levels and self.args.step_choice == "per_prompt":
            raise ConfigError(
                "step_choice = 'per_prompt' gives the processes different noise levels, but this sharded model's "
                "experts need the same one in all of them: use 'random'."
            )

    def sde_step_function(self) -> StepFunction:
        if self.args.sde_form == "ddim":
            return partial(ddim_step, eta=self.args.sde_noise_level, prediction_type=self.family.spec.prediction)
        return partial(sde_step, form=self.args.sde_form, noise_level=self.args.sde_noise_level)

    @property
    def keeps_means(self) -> bool:
        return self.args.ratio != "clip"

    @cached_property
    def candidates(self) -> range:
        """Steps that may be random, from the noisiest on.

        The last step never is, nor a first one whose form adds no noise (sage).
        """
        nothing, (sigma, sigma_next) = torch.zeros(1, 1), self.noise_levels()[:2]
        first = int(self.sde_step_function()(nothing, nothing, sigma, sigma_next, noise=nothing).std == 0)
        count = max(1 + first, int(self.args.step_share * self.template.num_steps))
        return range(first, min(self.template.num_steps - 1, count))

    def sde_steps(self, requests: Sequence[GenerationRequest]) -> list[tuple[int, ...]]:
        args, candidates = self.args, self.candidates
        count, size = len(candidates), args.window or len(candidates)
        try:
            if args.step_choice == "window":
                window = grpo.window_steps(count + 1, size, self.iteration, every=args.window_every)
                return [tuple(candidates[at] for at in window)] * len(requests)
            keys = [request.prompt if args.step_choice == "per_prompt" else "" for request in requests]
            drawn = {key: grpo.sde_steps(count, size, self._step_generator(key)) for key in keys}
        except ValueError as error:
            raise ConfigError(f"The choice of SDE steps is wrong: {error}.") from error
        return [tuple(candidates[at] for at in drawn[key]) for key in keys]

    def _step_generator(self, key: str) -> torch.Generator:
        return generator_for(seed_for(self.args.seed, step=self.iteration, prompt=f"steps of {key}"))

    @cached_property
    def _candidate_gains(self) -> Tensor:
        levels = self.noise_levels()[self.candidates.start : self.candidates.stop + 1]
        return torch.tensor([prediction_gain(self.sde_step_function(), *pair) for pair in pairwise(levels)])

    def losses(self, inputs: RolloutBatch) -> Iterator[Tensor]:
        """Yield one part for each replay of SDE steps; their sum is the mean over steps and clips."""
        for step, count in self._parts(inputs):
            yield self._part_loss(step, count, inputs) * (count / len(inputs.rollouts.steps))

    def _parts(self, batch: RolloutBatch) -> Iterator[tuple[KeptStep, int]]:
        """Yield the batch's SDE steps as the update takes them, several as one, with their number."""
        steps, together = batch.rollouts.steps, self.args.steps_per_replay
        for start in range(0, len(steps), together):
            part = steps[start : start + together]
            yield stack_steps(part, batch.index, self.args.device), len(part)

    def _part_loss(self, step: KeptStep, count: int, batch: RolloutBatch) -> Tensor:
        requests = batch.requests * count
        replay = self._replay(step, requests)
        terms = self._policy_loss(replay, batch.advantages.repeat(count).to(replay.mean.device))
        loss = terms.loss * self._weights(step).to(terms.loss)
        self.log_metric(**{"ratio/spread": terms.log_ratio.abs().max(), "clip_ratio": terms.clipped})
        if self.args.beta > 0:
            with self.reference.applied():
                reference = self._replay(step, requests)
            kl = grpo.step_kl(replay.mean, reference.mean, replay.std)
            self.log_metric(kl=kl)
            loss = loss + self.args.beta * kl
        return loss.mean()

    def _policy_loss(self, replay: Replay, advantages: Tensor) -> grpo.PolicyLoss:
        args = self.args
        if args.ratio == "kl_mask":
            assert replay.divergence is not None, "the rollouts keep the means"
            return grpo.masked_policy_loss(replay.log_ratio, advantages, replay.divergence, limit=args.epsilon)
        return grpo.policy_loss(replay.log_ratio, advantages, clip_low=args.epsilon, clip_high=args.epsilon_high)

    def _weights(self, step: KeptStep) -> Tensor:
        """Return the weights `[B]` of a step's clips in the loss."""
        levels = list(zip(step.sigma, step.sigma_next, strict=True))
        if self.args.step_weight == "gradient":
            gains = [prediction_gain(self.sde_step_function(), *pair) for pair in levels]
            return grpo.gradient_weights(torch.tensor(gains), self._candidate_gains)
        if self.args.ratio == "guard":
            return torch.tensor([1 / (sigma - sigma_next) for sigma, sigma_next in levels])
        return torch.ones(len(levels))

    def _replay(self, step: KeptStep, requests: Sequence[GenerationRequest]) -> Replay:
        """Repeat a rollout's step with the current weights and the rollout's guidance."""
        conditioning = self.prompts.of(requests)
        prediction = guided_prediction(
            self.family,
            step.latents,
            torch.tensor(step.sigma),
            conditioning,
            self.prompts.negatives_of(requests),
            self.template.guidance,
        )
        levels = list(zip(step.sigma, step.sigma_next, strict=True))
        same = {pair: [place for place, other in enumerate(levels) if other == pair] for pair in dict.fromkeys(levels)}
        parts = [
            take_step(
                self.sde_step_function(),
                prediction[places],
                step.latents[places],
                *pair,
                conditioning,
                next_latents=step.next_latents[places],
            )
            for pair, places in same.items()
        ]
        assert step.log_prob is not None, "a kept step is random"
        order = torch.tensor([place for places in same.values() for place in places]).argsort()
        log_prob = torch.cat([part.log_prob for part in parts if part.log_prob is not None])[order]
        mean = torch.cat([part.mean for part in parts])[order]
        std = torch.tensor(step.noise_std).to(mean)
        log_ratio = log_prob - step.log_prob
        divergence = None if step.mean is None else grpo.step_kl(mean, step.mean, std)
        if self.args.ratio == "guard":
            assert divergence is not None, "the rollouts keep the means"
            log_ratio = grpo.guarded_log_ratio(log_ratio, divergence, std)
        return Replay(mean=mean, std=std, log_ratio=log_ratio, divergence=divergence)

    def replay_error(self, batch: RolloutBatch) -> float:
        """Return the largest |log ratio| between rollout and replay; before any update it should be 0."""
        return float(self._changes(batch).abs().max())

    def first_changes(self, batches: Sequence[RolloutBatch]) -> Tensor:
        """Return the first batch's changes `[steps x B]` after a simulated update on `batches`.

        They are what `epsilon` limits: divergences for `ratio` "kl_mask", otherwise log ratios. The weights are
        restored afterwards.
        """
        for batch in batches:
            for part in self.losses(batch):
                (part / len(batches)).backward()
        args: Any = self.args
        clipping = {"max_norm": args.max_grad_norm or 0.0, "epsilon": args.adam_epsilon}
        with simulated_first_update(self.family.network, args.learning_rate, **clipping):
            return self._changes(batches[0])

    @torch.no_grad()
    def _changes(self, batch: RolloutBatch) -> Tensor:
        replays = [self._replay(step, batch.requests * count) for step, count in self._parts(batch)]
        if self.args.ratio == "kl_mask":
            return torch.cat([replay.divergence for replay in replays if replay.divergence is not None])
        return torch.cat([replay.log_ratio for replay in replays])

    def reached_steps(self) -> list[int]:
        """Return the numbers of the steps that may be random in this run, in order."""
        args, candidates = self.args, self.candidates
        if args.step_choice != "window" or args.max_steps <= 0:
            return list(candidates)
        batches = args.max_steps * self._accumulation / self._batches_per_generation
        moves = int(max(0.0, batches - 1)) // args.window_every
        return list(candidates[: (args.window or len(candidates)) + moves])
