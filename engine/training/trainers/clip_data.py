"""Base classes of trainers that learn from given clips, with or without the policy's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import dpo
from engine.errors import ConfigError
from engine.family_interface import Conditioning, ModelFamily, Prediction
from engine.request import GenerationRequest
from engine.sampling.forward_process import add_noise, training_target
from engine.seeds import generator_for, seed_for, unit_noise
from engine.training.data.clip_latents import ClipLatentCache, Stored, readable_rows
from engine.training.data.one_size_batches import OneSizeSampler
from engine.training.data.prompt_rows import request_fields
from engine.training.distributed.process_group import local_slice, on_rank_zero, world_size
from engine.training.rollout.noise_levels import NoiseLevelDistribution, draw_levels
from engine.training.trainers.base import DiffusionTrainer

LEVELS: dict[Prediction, NoiseLevelDistribution] = {
    "flow": "logit_normal",
    "epsilon": "uniform",
    "v_prediction": "uniform",
}
SIZES = ("num_frames", "width", "height")


class ClipLossTrainer(DiffusionTrainer):
    """Base of trainers with a loss on given clips.

    Their rows have a prompt and a clip `chosen` (see `clip_latents`).
    """

    clip_latents: ClipLatentCache

    def open_clips(self, sizes: Mapping[str, int]) -> None:
        """Prepare the latents of clips; `sizes` holds those of `SIZES` that are set."""
        self.clip_latents = ClipLatentCache(self.family, sizes, fps=self.template.fps)

    def clip_errors(
        self, inputs: Sequence[Mapping[str, Any]], requests: Sequence[GenerationRequest]
    ) -> Callable[[], Tensor]:
        """Noise the rows' chosen clips.

        Return a function that gives the network's squared errors `[B]` on them.
        """
        clean = self.clip_latents.chosen(inputs)
        noise, sigma = self.draw_noise(clean)
        kind: Prediction = self.family.spec.prediction
        noisy, target = add_noise(kind, clean, noise, sigma), training_target(kind, clean, noise, sigma)
        conditioning: Conditioning = self.prompts.of(list(requests))

        def errors() -> Tensor:
            prediction = self.family.predict(noisy, sigma, conditioning)
            return dpo.prediction_error(conditioning.free(prediction), conditioning.free(target))

        return errors

    def requests_of(self, inputs: Sequence[Mapping[str, Any]]) -> list[GenerationRequest]:
        """Return the requests that the rows' clips would come from.

        Pictures are encoded at the size of the clips.
        """
        shapes = [dict(zip(SIZES, self.clip_latents.shape(row), strict=True)) for row in inputs]
        return [
            self.template.model_copy(update={**request_fields(row), **shape})
            for row, shape in zip(inputs, shapes, strict=True)
        ]

    def draw_noise(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Draw each row's noise and level, seeded by run, step, micro-batch and row."""
        seed = seed_for(self.args.seed, step=self.state.global_step, sample=self.micro_step)
        rows = range(world_size() * len(clean))
        generators = [generator_for(seed_for(seed, sample=row)) for row in rows[local_slice(len(clean))]]
        noise = unit_noise(clean.shape[1:], generators).to(clean)
        spread = LEVELS[self.family.spec.prediction]
        tokens = clean.shape[2:].numel()
        sigma = draw_levels(self.family.scheduler_config, len(rows), tokens, generator_for(seed), spread)
        return noise, sigma[self.local_level_slice(len(clean))].to(clean)


class ClipDataTrainer(ClipLossTrainer):
    """Base of trainers on given clips alone; a subclass implements `losses`.

    With `paired`, rows also have a clip `rejected`. Rows with a clip that cannot be read are refused, or left out where
    `skip_damaged` is set.
    """

    def __init__(
        self, model: ModelFamily | str, args: Any, train_dataset: Any, *, paired: bool = False, **others: Any
    ) -> None:
        if train_dataset is None or not len(train_dataset):
            raise ConfigError("There are no clips to train on: collect votes, or give a file or folder of clips.")
        rows, stored = readable(train_dataset, paired, args.skip_damaged)
        super().__init__(model, args, rows, **others)
        fields = self.args.request_fields()
        self.open_clips({name: fields[name] for name in SIZES if name in fields})
        self.sizes = self.clip_latents.sizes(self.train_dataset, stored)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Return a sampler whose batches, of all processes, are of one size."""
        together = self.args.per_device_train_batch_size * world_size()
        if len(set(self.sizes)) > 1 and together > 1:
            return OneSizeSampler(self.sizes, together, self.args.seed)
        return super()._get_train_sampler(train_dataset)

    def requests_after_dropout(self, inputs: Sequence[Mapping[str, Any]]) -> list[GenerationRequest]:
        """Return the rows' requests, a random part with an empty prompt.

        Guidance needs unconditional predictions.
        """
        seed = seed_for(self.args.seed, step=self.state.global_step, sample=self.micro_step, prompt="dropout")
        dropped = torch.rand(world_size() * len(inputs), generator=generator_for(seed)) < self.args.prompt_dropout
        rows = zip(self.requests_of(inputs), dropped[local_slice(len(inputs))], strict=True)
        return [request.model_copy(update={"prompt": ""}) if is_dropped else request for request, is_dropped in rows]


def readable(rows: Any, paired: bool, skip: bool) -> tuple[Any, dict[str, Stored]]:
    """Return the rows whose clips can be decoded, and the facts of their clips.

    A damaged clip would otherwise end the run at the update that uses it, at every resume.
    """
    if not paired:
        chosen = [{name: value for name, value in dict(row).items() if name != "rejected"} for row in rows]
        return on_rank_zero(lambda: readable_rows(chosen, skip=skip))
    readable, stored = on_rank_zero(lambda: readable_rows([dict(row) for row in rows], skip=skip))
    return rows if len(readable) == len(rows) else readable, stored
