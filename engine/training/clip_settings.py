"""Settings of the trainers on given clips; those of DPO are in `engine.training.trainer_settings`."""

from dataclasses import dataclass, field

from transformers import TrainingArguments

from engine.algorithms.dpo import Prediction, default_scale
from engine.errors import ConfigError
from engine.training.video_arguments import PlainTrainerArguments, VideoArguments


@dataclass
class ClipDataArguments(VideoArguments):
    """Settings of trainers on given clips."""

    skip_damaged: bool = field(
        default=False,
        metadata={"help": "Skip rows with a clip that cannot be read; false = refuse the run."},
    )


@dataclass
class ScaledErrorArguments(ClipDataArguments):
    """Settings of losses that compare the error with the reference's; see `engine.algorithms.dpo`."""

    beta: float = field(
        default=0.2,
        metadata={"help": "beta of DPO, the strength of the KL regularisation; it is multiplied by error_scale."},
    )
    error_scale: float | None = field(
        default=None,
        metadata={"help": "S in beta_eff = S beta; None = 2500 for velocity prediction, 25,000 for noise prediction."},
    )

    def beta_eff(self, prediction: Prediction) -> float:
        """Return beta in the papers' units for a kind of prediction."""
        return self.beta * self.scale_of(prediction)

    def scale_of(self, prediction: Prediction) -> float:
        """Return S; the default of the kind of prediction if it is not set."""
        return default_scale(prediction) if self.error_scale is None else self.error_scale

    def check_video(self) -> None:
        super().check_video()
        if self.beta <= 0 or (self.error_scale is not None and self.error_scale <= 0):
            raise ConfigError(f"beta and error_scale must be above 0, but got {self.beta} and {self.error_scale}.")


@dataclass
class VideoSFTConfig(ClipDataArguments, PlainTrainerArguments, TrainingArguments):
    """Supervised fine-tuning on clips with captions."""

    prompt_dropout: float = field(
        default=0.1, metadata={"help": "Share of the clips that are trained without their prompt, for guidance."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.prompt_dropout < 1:
            raise ConfigError(f"prompt_dropout must be at least 0 and below 1, but got {self.prompt_dropout}.")


@dataclass
class VideoKTOConfig(ScaledErrorArguments, PlainTrainerArguments, TrainingArguments):
    """KTO on clips that were found good or bad; `beta` and `error_scale` as for DPO."""

    desirable_weight: float = field(default=1.0, metadata={"help": "Weight of the good clips."})
    undesirable_weight: float = field(default=1.0, metadata={"help": "Weight of the bad clips."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_device_train_batch_size * self.world_size < 2:
            raise ConfigError(
                "per_device_train_batch_size is 1, but KTO compares each clip with the mean of its batch: set it to 2 "
                "or more, with gradient_checkpointing where memory is short."
            )
        weights = self.desirable_weight, self.undesirable_weight
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(
                "desirable_weight and undesirable_weight must be 0 or more and one of them above 0, but got "
                f"{weights[0]:g} and {weights[1]:g}."
            )
