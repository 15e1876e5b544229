"""Settings that all video trainers have: the clip's shape, the adapter, samples, checkpointing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from engine.config.algorithms import algorithm_of, few_step_settings
from engine.config.presets import load_preset
from engine.config.schema import REQUEST_FIELDS
from engine.errors import ConfigError
from engine.families.registry import family_spec, one_pass_guidance
from engine.generation.validation import why_untrainable
from engine.request import GenerationRequest
from rewards.errors import did_you_mean

WITHOUT_EFFECT: Mapping[str, str] = {
    "sync_ref_model": "the reference is always the model before training",
    "precompute_ref_log_probs": "the reference sees new noise in each step",
    "f_divergence_type": "the divergence is always the reverse KL",
    "use_weighting": "pairs are weighted by pair_weight_power",
    "importance_sampling_level": "each denoising step has a ratio of its own",
    "delta": "ratios are clipped by epsilon and epsilon_high alone",
}
"""TRL's fields that have no effect although they concern more than tokens, each with the reason.

Only TRL's default is accepted for them.
"""


ONLINE_WITHOUT_EFFECT: Mapping[str, str] = {
    **WITHOUT_EFFECT,
    "loss_type": "a clip's loss is always the mean over its steps",
    "top_entropy_quantile": "all steps of the window are trained",
    "off_policy_mask_threshold": "no clip is left out",
    "dataloader_num_workers": "clips are made and not loaded",
}


@dataclass
class VideoArguments:
    """Settings of all video trainers; the clip's shape and steps default to those of the model's preset."""

    num_frames: int | None = field(default=None, metadata={"help": "Number of frames of a clip."})
    width: int | None = field(default=None, metadata={"help": "Width of a clip in px."})
    height: int | None = field(default=None, metadata={"help": "Height of a clip in px."})
    fps: float | None = field(
        default=None, metadata={"help": "Frame rate in frames per second, an input of the network."}
    )
    num_steps: int | None = field(default=None, metadata={"help": "Denoising steps of a rollout."})
    guidance: float | None = field(default=None, metadata={"help": "Classifier-free guidance scale; 1 = off."})
    lora_rank: int = field(default=16, metadata={"help": "Rank of the LoRA; 0 = train the whole network."})
    lora_alpha: int | None = field(default=None, metadata={"help": "Alpha of the LoRA; None = its rank, a scale of 1."})
    lora_targets: str | None = field(
        default=None,
        metadata={
            "help": "Layers of the LoRA, by the ends of their names and with a rank of their own after '=', such as "
            "'to_q to_v ffn.net.2=8'; None = the attention layers of the family."
        },
    )
    frozen_adapter: str | None = field(
        default=None,
        metadata={
            "help": "Adapter of the workspace that stays as it is under the trained one, such as one that makes the "
            "model need few steps; Generate then needs both. In Python its folder."
        },
    )
    frozen_scale: float = field(default=1.0, metadata={"help": "Scale of the frozen adapter."})
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Decay of the exported moving average, reached after a warm-up; 0 = no average."},
    )

    sample_clips: int = field(default=4, metadata={"help": "Number of sample clips made at each checkpoint; 0 = none."})
    sample_every: int | None = field(
        default=None, metadata={"help": "Updates between two sets of samples; None = at each checkpoint."}
    )
    sample_steps: int | None = field(default=None, metadata={"help": "Denoising steps of a sample; None = num_steps."})

    gradient_checkpointing: bool = field(
        default=False,
        metadata={
            "help": "Recompute each block in the backward pass instead of keeping its activations: much less "
            "memory, a fifth slower."
        },
    )

    # Defaults of the library's settings.
    learning_rate: float = 1e-4  # TRL's 1e-6 is for whole networks
    logging_steps: float = 10  # transformers' 500 would leave most runs without a curve
    bf16: bool | None = False  # the model's preset sets the dtype of its networks; autocast would conflict with it
    remove_unused_columns: bool = False  # the rows are prompts and clips, which no forward signature has
    report_to: str | list[str] | None = "none"

    without_effect: ClassVar[Mapping[str, str]] = WITHOUT_EFFECT
    learns_from_start: ClassVar[bool] = False
    """True when the run's initial model is its teacher, with which the result is then compared."""

    makes_few_steps: ClassVar[bool] = False
    """True when the result is a student of a few steps."""

    def sampled_with(self) -> dict[str, Any]:
        """Return the sampling settings for the trained adapter; None: the model's own."""
        return {"num_steps": self.num_steps, "guidance": self.guidance}

    def updates_of_export(self, updates: int) -> int | None:
        """Return how many of `updates` were of the exported weights; None where the last one was of others."""
        return updates

    def check_library(self, check: Callable[[], None]) -> None:
        """Call the library's `check` of its own settings, and keep checkpointing out of its hands.

        Its trainer needs hooks that a diffusion network does not have. It reads `activation_checkpointing` alone, to
        which its check would set the two names.
        """
        library: Any = self
        wanted = bool(self.gradient_checkpointing or library.activation_checkpointing)
        self.gradient_checkpointing, library.activation_checkpointing = False, False
        check()
        self.gradient_checkpointing = wanted

    def lora_settings(self) -> dict[str, Any]:
        """Return the arguments of `setup_lora`."""
        library: Any = self
        return {
            "rank": self.lora_rank,
            "alpha": self.lora_alpha,
            "chosen": self.lora_targets,
            "frozen_scale": self.frozen_scale,
            "seed": library.seed,
        }

    def request_fields(self) -> dict[str, Any]:
        """Return the fields of a `GenerationRequest` that are set here."""
        return {name: value for name in REQUEST_FIELDS if (value := getattr(self, name)) is not None}

    def template(self, model: str | None) -> GenerationRequest:
        """Return the request shared by all clips of a run on the model (None: of one that is loaded already).

        Raises ConfigError for a model that these settings cannot train.
        """
        preset = None if model is None else load_preset("models", model)
        if preset is not None and (untrainable := why_untrainable(preset)):
            raise ConfigError(untrainable)
        if preset is not None and preset.distilled:
            few_step_settings(
                algorithm_of(type(self)),
                vars(self),
                f"The model '{model}'",
                preset.num_steps,
                one_pass_guidance(preset),
            )
        defaults = {} if preset is None else preset.defaults()
        return GenerationRequest(**{"prompt": "-", **defaults, **self.request_fields()})

    def check_video(self) -> None:
        """Raise ConfigError for a setting that no video trainer supports."""
        self._check_choices()
        self.refuse_unused(self.without_effect)
        if self.frozen_adapter is None:
            self.refuse_unused({"frozen_scale": "there is no frozen_adapter"})
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank must be 0 (the whole network) or more, but got {self.lora_rank}.")
        if self.frozen_adapter is not None and not self.lora_rank:
            raise ConfigError("frozen_adapter has no effect with lora_rank = 0, the whole network: leave it out.")
        if self.lora_targets is not None and not self.lora_rank:
            raise ConfigError("lora_targets has no effect with lora_rank = 0, the whole network: leave it out.")
        if self.sample_clips < 0 or any(n is not None and n < 1 for n in (self.sample_every, self.sample_steps)):
            raise ConfigError(
                "sample_clips must be 0 or more, sample_every and sample_steps 1 or more, but got "
                f"{self.sample_clips}, {self.sample_every} and {self.sample_steps}."
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be at least 0 and below 1, but got {self.ema_decay}.")
        library: Any = self
        library.dataloader_pin_memory = False  # rows are text and arrays, which cannot be pinned

    def refuse_unused(self, reasons: Mapping[str, str]) -> None:
        """Raise ConfigError for one of these settings that is not at its default, with the reason."""
        for entry in fields(self):
            if entry.name in reasons and (got := getattr(self, entry.name)) != entry.default:
                why = reasons[entry.name]
                raise ConfigError(f"{entry.name} = {got!r} would have no effect here, since {why}: leave it out.")

    def _check_choices(self) -> None:
        """Raise ConfigError for an invalid choice, since a dataclass accepts any value for a Literal."""
        for name, hint in get_type_hints(type(self)).items():
            kinds = (hint, *get_args(hint))
            choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
            got = getattr(self, name)
            if choices and got not in choices and not (got is None and NoneType in kinds):
                raise ConfigError(f"{name} = {got!r} is no choice. {did_you_mean(str(got), map(str, choices))}")


@dataclass
class PlainTrainerArguments(VideoArguments):
    """Settings of trainers whose next base class is `transformers.TrainingArguments`."""

    def __post_init__(self) -> None:
        library: Any = super()
        self.check_library(library.__post_init__)
        self.check_video()


def embeds_guidance(model: str | None) -> bool:
    """Return True if guidance is an input of the network of a model that is a key."""
    return model is not None and family_spec(load_preset("models", model).family).embedded_guidance
