"""`VideoDraftTrainer`: training by the gradient of rewards (loss: `engine.algorithms.draft`)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import draft
from engine.errors import ConfigError
from engine.family_interface import Conditioning, ModelFamily
from engine.request import GenerationRequest
from engine.sampling.sampler import denoise, denoise_with_graph, guided_prediction
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.sampling.steps import ODE_STEPS, StepResult
from engine.seeds import generator_for, seed_for
from engine.training.data.prompt_rows import request_fields
from engine.training.distributed.process_group import rank, world_size
from engine.training.prompt_settings import VideoDraftConfig
from engine.training.rollout.reward_calls import RewardFunc, name_of
from engine.training.trainers.base import DiffusionTrainer
from rewards.differentiable import PixelReward


class VideoDraftTrainer(DiffusionTrainer):
    """DRaFT trainer. Each of `reward_funcs` has `of_pixels`, a `rewards.differentiable.PixelReward`."""

    args: VideoDraftConfig

    def __init__(
        self,
        model: ModelFamily | str,
        reward_funcs: RewardFunc | Sequence[RewardFunc],
        args: VideoDraftConfig | None = None,
        train_dataset: Any = None,
        **others: Any,
    ) -> None:
        rows = [{"prompt": row} if isinstance(row, str) else dict(row) for row in train_dataset or ()]
        args = args or VideoDraftConfig()
        self.reward_funcs = [reward_funcs] if callable(reward_funcs) else list(reward_funcs)
        self.of_pixels = pixel_rewards(self.reward_funcs)
        self.reward_weights = torch.tensor(args.reward_weights or [1.0] * len(self.of_pixels))
        super().__init__(model, args, rows, **others)
        if args.backprop_steps > self.template.num_steps:
            raise ConfigError(
                f"backprop_steps is {args.backprop_steps}, but a clip has {self.template.num_steps} steps: lower it."
            )

    def losses(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """Yield one part for each clip, since the decoder's graph is large; their sum is the mean over clips."""
        for number, row in enumerate(inputs):
            at = (self.micro_step * world_size() + rank()) * len(inputs) + number
            seed = seed_for(self.args.seed, step=self.state.global_step, prompt=str(row["prompt"]), sample=at)
            request = self.template.model_copy(update={**request_fields(row), "seed": seed})
            yield self._clip_loss(request) / len(inputs)

    def _clip_loss(self, request: GenerationRequest) -> Tensor:
        conditioning, negative = self.prompts.of([request]), self.prompts.negatives_of([request])
        latents = self.family.init_latents(request, [generator_for(request.seed)])
        tokens = num_tokens(latents, conditioning.extras)
        levels = sigmas_for(self.family.scheduler_config, request.num_steps, tokens)
        first = request.num_steps - self.args.backprop_steps
        scale = request.guidance
        for step in denoise(self.family, latents, levels[: first + 1], conditioning, negative=negative, guidance=scale):
            latents = step.next_latents
        outputs: list[tuple[Tensor, Tensor, float]] = []
        recording = self._recording(outputs)
        for step in denoise_with_graph(
            self.family, latents, levels[first:], conditioning, negative=negative, guidance=scale, step=recording
        ):
            latents = step.next_latents
        distances = [self._distance(*output, conditioning, negative, scale) for output in outputs]
        reward = self._reward(latents, request)
        self.log_metric(reward=reward)
        if distances:
            self.log_metric(kl=torch.stack(distances))
        return draft.draft_loss(reward, distances, self.args.beta).mean()

    def _recording(self, outputs: list[tuple[Tensor, Tensor, float]]) -> Callable[..., StepResult]:
        """Return the deterministic step; it also keeps output, latents and level of each step."""
        advance = ODE_STEPS[self.family.spec.prediction]

        def step(prediction: Tensor, latents: Tensor, sigma: float, sigma_next: float, **others: Any) -> StepResult:
            if self.args.beta > 0:
                outputs.append((prediction, latents.detach(), sigma))
            return advance(prediction, latents, sigma, sigma_next, **others)

        return step

    def _distance(
        self,
        output: Tensor,
        latents: Tensor,
        sigma: float,
        conditioning: Conditioning,
        negative: Conditioning | None,
        guidance: float,
    ) -> Tensor:
        """Return the squared distance of an output from that of the model before training, `[B]`."""
        with self.reference.applied():
            before = guided_prediction(
                self.family, conditioning.whole(latents), sigma, conditioning, negative, guidance
            )
        return (output.float() - conditioning.free(before).float()).square().flatten(1).mean(1)

    def _reward(self, latents: Tensor, request: GenerationRequest) -> Tensor:
        """Return the weighted reward of the decoded clip, `float32[B]`, and log each reward."""
        count = self.args.decode_frames
        if count is not None:
            count += self.family.spec.lead_latents
        if count is not None and count < latents.shape[2]:
            start = int(torch.randint(latents.shape[2] - count + 1, (), generator=generator_for(request.seed)))
            latents = latents[:, :, start : start + count]
        frames = (self.family.decode_pixels(latents).float() / 2 + 0.5).clamp(0, 1).transpose(1, 2)
        scores = [score(frames, [request.prompt]) for score in self.of_pixels]
        for function, found in zip(self.reward_funcs, scores, strict=True):
            self.log_metric(**{f"rewards/{name_of(function)}/mean": found})
        return draft.weighted_reward(scores, self.reward_weights)


def pixel_rewards(functions: Sequence[RewardFunc]) -> list[PixelReward]:
    """Return the rewards as functions of pixels. Raises ConfigError, which names those that cannot be."""
    if not functions:
        raise ConfigError("There is no reward to train on: give at least one reward function.")
    found = [getattr(function, "of_pixels", None) for function in functions]
    if wrong := [name_of(function) for function, of_pixels in zip(functions, found, strict=True) if of_pixels is None]:
        raise ConfigError(
            f"No gradient flows through {', '.join(wrong)}: draft needs clip_vid, or aesthetic with the back end "
            'laion, in a preset with rewards = "parts".'
        )
    return [of_pixels for of_pixels in found if of_pixels is not None]
