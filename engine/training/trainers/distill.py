"""`VideoDistillTrainer`: distil a model to a few denoising steps (loss: `engine.algorithms.distill`).

The teacher is the model before training, with its initial adapter, its own number of steps and its guidance. The
student is the same network, trained as a LoRA, without guidance. The student's noise levels are those of `denoise` with
its number of steps, and the teacher takes several short steps between each two of them. The student can therefore be
sampled like any other model.

    trajectory    the student's long step must end where the teacher's short steps did: exact, no bootstrap
    consistency   from a random point of a segment: one step of the teacher, then the student's jump (arXiv:2403.06807)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from engine.algorithms import distill
from engine.errors import ConfigError
from engine.family_interface import Conditioning, ModelFamily
from engine.request import GenerationRequest
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.seeds import generator_for, seed_for
from engine.training.data.prompt_rows import request_fields
from engine.training.distributed.process_group import rank, world_size
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.rollout.rollouts import KeptStep, Rollouts, generate_rollouts
from engine.training.trainers.base import DiffusionTrainer
from engine.training.trainers.generation_batches import EpochRepeatSampler
from engine.training.weights import WeightCopy


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherBatch:
    """Rows of the teacher's rollouts used by one training step."""

    index: list[int]
    rollouts: Rollouts


class VideoDistillTrainer(DiffusionTrainer):
    """Distillation trainer.

    `num_steps` and `guidance` of `args` are the teacher's, `student_steps` the student's.
    """

    args: VideoDistillConfig

    def __init__(
        self,
        model: ModelFamily | str,
        args: VideoDistillConfig | None = None,
        train_dataset: Any = None,
        **others: Any,
    ) -> None:
        rows = [{"prompt": row} if isinstance(row, str) else dict(row) for row in train_dataset or ()]
        args = args or VideoDistillConfig()
        needed = args.rollout_clips * args.world_size
        if len(rows) < needed:
            raise ConfigError(f"A rollout takes {needed} prompts, but there are {len(rows)}: lower rollout_clips.")
        super().__init__(model, args, rows, **others)
        if self.family.spec.prediction == "v_prediction":
            raise ConfigError(f"{self.family.spec.title} predicts v, which cannot be distilled yet: use another model.")
        self.kind: distill.Kind = "flow" if self.family.spec.prediction == "flow" else "epsilon"
        self.teacher_template = self.template
        self.baseline_fields = {"num_steps": self.template.num_steps, "guidance": self.template.guidance}
        self.template = self.template.model_copy(update={"num_steps": args.student_steps, "guidance": 1.0})
        self.prompts.guidance = self.template.guidance
        self.per_segment = max(1, round(self.teacher_template.num_steps / args.student_steps))
        self.copies["teacher"] = WeightCopy(self.family.network)
        self._rollouts: Rollouts | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's prompts of each rollout, repeated for every step that uses it."""
        args = self.args
        sampler = EpochRepeatSampler(
            self.train_dataset,
            mini_repeat_count=1,
            batch_size=args.rollout_clips * args.world_size,
            repeat_count=self._batches_per_rollout,
            shuffle=True,
            seed=args.seed,
        )
        loader = DataLoader(
            self.train_dataset, batch_size=args.rollout_clips, sampler=sampler, collate_fn=list, drop_last=True
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    @property
    def _batches_per_rollout(self) -> int:
        return self.args.steps_per_rollout * self.args.gradient_accumulation_steps

    def _prepare_inputs(self, inputs: Sequence[Mapping[str, Any]]) -> TeacherBatch:
        at = self.state.global_step * self.args.gradient_accumulation_steps + self.micro_step
        rollout, position = divmod(at, self._batches_per_rollout)
        if position == 0 or self._rollouts is None:
            self._rollouts = self.teacher_rollouts(inputs, rollout)
        size, total = self.args.per_device_train_batch_size, len(self._rollouts.requests)
        turn, start = divmod(position * size, total)
        order = torch.randperm(total, generator=generator_for(seed_for(self.args.seed, step=rollout, sample=turn)))
        return TeacherBatch(index=torch.cat([order, order])[start : start + size].tolist(), rollouts=self._rollouts)

    def teacher_rollouts(self, rows: Sequence[Mapping[str, Any]], rollout: int) -> Rollouts:
        """Generate the teacher's clips of these rows of prompts, with all their steps."""
        given = [request_fields(row) for row in rows]
        seeds = [seed_for(self.args.seed, step=rollout, prompt=fields["prompt"]) for fields in given]
        requests = [
            self.teacher_template.model_copy(update={**fields, "seed": seed})
            for fields, seed in zip(given, seeds, strict=True)
        ]
        levels = self.levels(requests[0])
        with self.copies["teacher"].applied():
            return generate_rollouts(
                self.family,
                requests,
                self.prompts,
                kept=[range(len(levels) - 1)] * len(requests),
                batch=self.args.rollout_batch,
                sigmas=levels,
                decode=False,
            )

    def levels(self, request: GenerationRequest) -> Tensor:
        """Return noise levels `[S * per_segment + 1]`: the student's, with the teacher's evenly between them."""
        latents = self.family.init_latents(request, [generator_for(0)])
        tokens = num_tokens(latents, self.prompts.of([request]).extras)
        bounds = sigmas_for(self.family.scheduler_config, self.args.student_steps, tokens)
        shares = torch.arange(self.per_segment, dtype=bounds.dtype) / self.per_segment
        finer = bounds[:-1, None] + (bounds[1:] - bounds[:-1])[:, None] * shares
        return torch.cat([finer.flatten(), bounds[-1:]])

    def losses(self, inputs: TeacherBatch) -> Iterator[Tensor]:
        """Yield one part for each segment; their sum is the mean over segments and clips.

        A schedule may end with two equal levels (DDIM with "linspace" spacing); that segment is skipped.
        """
        steps, size = inputs.rollouts.steps, self.per_segment
        conditioning = self.prompts.of([inputs.rollouts.requests[row] for row in inputs.index])
        cut = [steps[start : start + size] for start in range(0, len(steps), size)]
        segments = [segment for segment in cut if segment[0].sigma[0] > segment[-1].sigma_next[0]]
        for number, segment in enumerate(segments):
            yield self._segment_loss(segment, number, inputs, conditioning) / len(segments)

    def _segment_loss(
        self, segment: Sequence[KeptStep], number: int, batch: TeacherBatch, conditioning: Conditioning
    ) -> Tensor:
        end = segment[-1].sigma_next[0]  # all clips have the same steps
        first, arrival = self._target(segment, batch.index, number, conditioning)
        latents = self._here(first.latents, batch.index)
        prediction = self._predict(latents, first.sigma[0], conditioning)
        target = distill.target_prediction(self.kind, arrival, latents, first.sigma[0], end)
        predicted, wanted = conditioning.free(prediction), conditioning.free(target)
        loss = distill.consistency_loss(predicted, wanted, self.args.huber).mean()
        self.log_metric(**{f"segment/{number}": loss})
        return loss

    def _target(
        self, segment: Sequence[KeptStep], index: list[int], number: int, conditioning: Conditioning
    ) -> tuple[KeptStep, Tensor]:
        """Return the step to start from, and the target latents at the segment's end."""
        if self.args.target == "trajectory":
            return segment[0], self._here(segment[-1].next_latents, index)
        # Processes with shards take as many passes as each other, so they have one starting point.
        apart = rank() if self.sharding is None else 0
        batch = self.micro_step * world_size() + apart
        seed = seed_for(self.args.seed, step=self.state.global_step, prompt=number, sample=batch)
        start = segment[int(torch.randint(len(segment), (), generator=generator_for(seed)))]
        beyond, end = self._here(start.next_latents, index), segment[-1].sigma_next[0]
        if start is segment[-1]:
            return start, beyond
        with torch.no_grad():
            onward = self._predict(beyond, start.sigma_next[0], conditioning)
        return start, distill.jump(self.kind, onward, beyond, start.sigma_next[0], end)

    def _here(self, latents: Tensor, index: list[int]) -> Tensor:
        return latents[index].to(self.args.device)

    def _predict(self, latents: Tensor, sigma: float, conditioning: Conditioning) -> Tensor:
        return self.family.predict(latents, torch.full((len(latents),), sigma).to(latents), conditioning)
