"""Settings of trainers on prompts without groups: by rewards' gradients, or from a teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from transformers import TrainingArguments

from engine.errors import ConfigError
from engine.training.video_arguments import WITHOUT_EFFECT, PlainTrainerArguments


@dataclass
class VideoDraftConfig(PlainTrainerArguments, TrainingArguments):
    """Settings of DRaFT.

    `beta` is the weight of the squared distance of outputs from the model before training.
    """

    backprop_steps: int = field(
        default=1, metadata={"help": "Last denoising steps that gradients flow through, the K of DRaFT-K."}
    )
    decode_frames: int | None = field(
        default=None,
        metadata={"help": "Latent frames that are decoded and scored, from a random one on; None = the whole clip."},
    )
    beta: float = field(default=0.0, metadata={"help": "Weight of the pull to the model before training; 0 = none."})
    reward_weights: ClassVar[list[float] | None] = None
    """Not a setting: an instance gets the weights of its mix."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backprop_steps < 1 or (self.decode_frames is not None and self.decode_frames < 1):
            raise ConfigError(
                "backprop_steps and decode_frames must be 1 or more, but got "
                f"{self.backprop_steps} and {self.decode_frames}."
            )
        if self.beta < 0:
            raise ConfigError(f"beta must be 0 or more, but got {self.beta:g}.")


@dataclass
class StudentArguments(PlainTrainerArguments):
    """Settings of trainers of a few-step student; `num_steps` and `guidance` are the teacher's."""

    makes_few_steps: ClassVar[bool] = True
    learns_from_start: ClassVar[bool] = True

    student_steps: int = field(default=4, metadata={"help": "Denoising steps of the student: 1, 2, 4 or 8."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student_steps < 1:
            raise ConfigError(f"student_steps must be 1 or more, but got {self.student_steps}.")
        if self.num_steps is not None and self.num_steps < self.student_steps:
            raise ConfigError(f"The teacher has {self.num_steps} steps, fewer than its student's {self.student_steps}.")

    def sampled_with(self) -> dict[str, Any]:
        return {"num_steps": self.student_steps, "guidance": 1.0}


@dataclass
class VideoDMDConfig(StudentArguments, TrainingArguments):
    """Settings of DMD2. An update (`max_steps`) is one of the critic or one of the student."""

    critic_updates: int = field(
        default=5, metadata={"help": "Updates of the critic before each one of the student; all count as updates."}
    )
    critic_learning_rate: float = field(default=4e-4, metadata={"help": "Learning rate of the critic."})
    adam_beta1: float = 0.0

    def updates_of_export(self, updates: int) -> int | None:
        rounds, of_critic = divmod(updates, self.critic_updates + 1)
        return None if of_critic else rounds

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.critic_updates < 1 or self.critic_learning_rate <= 0:
            raise ConfigError(
                "critic_updates must be 1 or more and critic_learning_rate above 0, but got "
                f"{self.critic_updates} and {self.critic_learning_rate:g}."
            )
        if not self.lora_rank or self.frozen_adapter is not None:
            raise ConfigError("dmd trains two adapters on the teacher: set lora_rank, and leave frozen_adapter out.")


@dataclass
class VideoDistillConfig(StudentArguments, TrainingArguments):
    """Distillation to a few steps. `num_steps` and `guidance` are the teacher's.

    The student has no guidance.
    """

    without_effect: ClassVar[Mapping[str, str]] = {
        **WITHOUT_EFFECT,
        "dataloader_num_workers": "clips are made and not loaded",
    }
    target: Literal["trajectory", "consistency"] = field(
        default="trajectory",
        metadata={"help": "Target of a step: the end of the teacher's steps, or the student's own prediction."},
    )
    huber: float = field(
        default=1e-3, metadata={"help": "Distance at which the Huber loss turns from quadratic to linear."}
    )
    rollout_clips: int = field(default=32, metadata={"help": "Number of clips that the teacher makes per rollout."})
    rollout_batch: int = field(default=16, metadata={"help": "Clips that are generated together."})
    steps_per_rollout: int = field(default=10, metadata={"help": "Updates on the clips of one rollout."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rollout_clips < 1 or self.steps_per_rollout < 1:
            raise ConfigError("rollout_clips and steps_per_rollout must be 1 or more.")
        check_rollout_batch(self.rollout_batch)
        if self.huber <= 0:
            raise ConfigError(f"huber must be above 0, but got {self.huber}.")


def check_rollout_batch(rollout_batch: int) -> None:
    """Raise ConfigError for a number of clips below 1."""
    if rollout_batch < 1:
        raise ConfigError(f"rollout_batch must be 1 or more, but got {rollout_batch}.")
