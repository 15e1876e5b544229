"""`VideoDMDTrainer`: DMD2 (loss: `engine.algorithms.dmd`).

The teacher is the model before training, with its initial adapter. Student and critic are two adapters on the network,
which begin as the teacher. One optimiser trains both: an update is
the critic's or the student's, and the weights of the other, which have no gradient, stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from engine.algorithms import dmd
from engine.errors import ConfigError
from engine.family_interface import Conditioning, ModelFamily, Prediction
from engine.request import GenerationRequest
from engine.sampling.forward_process import add_noise, predict_x0_and_noise, training_target
from engine.sampling.sampler import denoise, guided_prediction
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.seeds import generator_for, seed_for, unit_noise
from engine.training.data.prompt_rows import request_fields
from engine.training.distributed.process_group import rank, world_size
from engine.training.prompt_settings import VideoDMDConfig
from engine.training.trainers.base import DiffusionTrainer
from engine.training.trainers.forward_process import MAX_LEVEL
from engine.training.weights import ADAPTER, CRITIC, add_critic, trainable, use_adapter

LEVELS = (0.02, 0.98)
"""Least and largest noise level at which teacher and critic are compared (DMD, sec. 4.2)."""


class VideoDMDTrainer(DiffusionTrainer):
    """DMD2 trainer. `num_steps` and `guidance` of `args` are the teacher's, `student_steps` the student's."""

    args: VideoDMDConfig

    def __init__(
        self,
        model: ModelFamily | str,
        args: VideoDMDConfig | None = None,
        train_dataset: Any = None,
        **others: Any,
    ) -> None:
        rows = [{"prompt": row} if isinstance(row, str) else dict(row) for row in train_dataset or ()]
        args = args or VideoDMDConfig()
        super().__init__(model, args, rows, **others)
        self.teacher_steps, self.teacher_guidance = self.template.num_steps, self.template.guidance
        self.baseline_fields = {"num_steps": self.template.num_steps, "guidance": self.template.guidance}
        self.template = self.template.model_copy(update={"num_steps": args.student_steps, "guidance": 1.0})
        self.prompts.guidance = 1.0

    def _add_adapters(self, network: Any, args: Any) -> None:
        if self.sharding is not None:
            raise ConfigError("dmd trains on one device, or on copies: start it without sharding.")
        add_critic(network)

    def create_optimizer(self, model: Any = None) -> Any:
        """Return one optimiser with a learning rate for each of the two networks."""
        if self.optimizer is None:  # type: ignore[has-type]
            kind, options = self.get_optimizer_cls_and_kwargs(self.args)
            weights = trainable(self.family.network)
            critic = [parameter for name, parameter in weights if f".{CRITIC}." in name]
            student = [parameter for name, parameter in weights if f".{CRITIC}." not in name]
            groups = [{"params": student}, {"params": critic, "lr": self.args.critic_learning_rate}]
            self.optimizer = kind(groups, **{"weight_decay": self.args.weight_decay, **options})
        return self.optimizer

    @property
    def is_critic_turn(self) -> bool:
        """True when this update is the critic's; the student's ends each round."""
        round_length = self.args.critic_updates + 1
        return bool(self.state.global_step % round_length < self.args.critic_updates)

    def losses(self, inputs: Sequence[Mapping[str, Any]]) -> Iterator[Tensor]:
        """Yield one part: the critic's loss or the student's."""
        at = self.micro_step * world_size() + rank()
        drawn = generator_for(seed_for(self.args.seed, step=self.state.global_step, prompt=1, sample=at))
        requests = [
            self.template.model_copy(
                update={
                    **request_fields(row),
                    "seed": seed_for(self.args.seed, step=self.state.global_step, prompt=2 + number, sample=at),
                }
            )
            for number, row in enumerate(inputs)
        ]
        if not self.is_critic_turn:
            yield self.student_loss(requests, drawn)
            return
        conditioning = self.prompts.of(requests)
        with torch.no_grad():
            clips = self._student_clips(requests, conditioning, drawn)
        with self._critic():  # also while the caller runs the backward pass, which may compute blocks again
            yield self.critic_loss(clips, conditioning, drawn)

    def critic_loss(self, clips: Tensor, conditioning: Conditioning, drawn: torch.Generator) -> Tensor:
        """Return the loss of pre-training on the student's clips, of the network that is in use: the critic."""
        noisy, noise, level = self._noised(clips, conditioning, drawn)
        target = training_target(self.family.spec.prediction, clips, noise, level)
        output = self.family.predict(noisy, level, conditioning)
        loss = (conditioning.free(output).float() - conditioning.free(target)).square().mean()
        self.log_metric(**{"dmd/critic": loss})
        return loss

    def student_loss(self, requests: Sequence[GenerationRequest], drawn: torch.Generator) -> Tensor:
        """Return the student's loss at a random one of its steps."""
        kind: Prediction = self.family.spec.prediction
        conditioning = self.prompts.of(requests)
        clips = self._student_clips(requests, conditioning, drawn)
        with torch.no_grad():
            noisy, _, level = self._noised(clips.detach(), conditioning, drawn)
            with self._critic():
                critic = predict_x0_and_noise(kind, self.family.predict(noisy, level, conditioning), noisy, level)[0]
            guided = [request.model_copy(update={"guidance": self.teacher_guidance}) for request in requests]
            with self.reference.applied():
                output = guided_prediction(
                    self.family, noisy, level, conditioning, self.prompts.negatives_of(guided), self.teacher_guidance
                )
            teacher = predict_x0_and_noise(kind, output, noisy, level)[0]
        free = conditioning.free
        gradient = dmd.distribution_gradient(free(clips).detach(), free(critic), free(teacher))
        loss = dmd.student_loss(free(clips), gradient).mean()
        self.log_metric(**{"dmd/student": loss, "dmd/gradient": gradient.abs().mean()})
        return loss

    def _student_clips(
        self, requests: Sequence[GenerationRequest], conditioning: Conditioning, drawn: torch.Generator
    ) -> Tensor:
        """Return the student's clean latents at a random one of its steps, after its own steps before that."""
        latents = self.family.init_latents(requests[0], [generator_for(request.seed) for request in requests])
        levels = self._levels(latents, conditioning, self.args.student_steps)
        last = int(torch.randint(self.args.student_steps, (), generator=drawn))
        latents = conditioning.whole(conditioning.free(latents))
        for step in denoise(self.family, latents, levels[: last + 1], conditioning):
            latents = step.next_latents
        kind: Prediction = self.family.spec.prediction
        level = levels[last].expand(len(latents)).to(latents).clamp(max=1 if kind == "flow" else MAX_LEVEL)
        clean = predict_x0_and_noise(kind, self.family.predict(latents, level, conditioning), latents, level)[0]
        return conditioning.whole(conditioning.free(clean))

    def _noised(
        self, clips: Tensor, conditioning: Conditioning, drawn: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the clips with noise at levels of the teacher's schedule, the noise, and the levels `[B]`."""
        grid = self._levels(clips, conditioning, self.teacher_steps)[:-1].float().clamp(*LEVELS)
        level = grid[torch.randint(len(grid), (len(clips),), generator=drawn)].to(clips)
        noise = unit_noise(clips.shape[1:], [drawn] * len(clips)).to(clips)
        noisy = add_noise(self.family.spec.prediction, clips, noise, level)
        return conditioning.whole(conditioning.free(noisy)), noise, level

    def _levels(self, latents: Tensor, conditioning: Conditioning, steps: int) -> Tensor:
        return sigmas_for(self.family.scheduler_config, steps, num_tokens(latents, conditioning.extras))

    @contextmanager
    def _critic(self) -> Iterator[None]:
        """Use the critic in the block and the student after it."""
        use_adapter(self.family.network, CRITIC)
        try:
            yield
        finally:
            use_adapter(self.family.network, ADAPTER)
