"""Settings of the video trainers: TRL's config classes with fields and defaults for video.

TRL's fields keep their meaning. Some of TRL's defaults are for language models and differ here, for the reason in the
comment or help text. Fields that concern only tokens are accepted and have no effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from transformers import TrainingArguments
from trl import DPOConfig, GRPOConfig

from engine.algorithms.advantages import Aggregation
from engine.algorithms.dpo import PREFERENCES, Loss, Prediction, default_scale
from engine.config.schema import REQUEST_FIELDS
from engine.errors import ConfigError
from engine.sampling.steps import DEFAULT_LEVELS
from engine.suggestions import did_you_mean

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
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Decay of the exported moving average, reached after a warm-up; 0 = no average."},
    )

    sample_clips: int = field(default=4, metadata={"help": "Number of sample clips made at each checkpoint; 0 = none."})
    sample_every: int | None = field(
        default=None, metadata={"help": "Updates between two sets of samples; None = at each checkpoint."}
    )
    sample_steps: int | None = field(default=None, metadata={"help": "Denoising steps of a sample; None = num_steps."})

    checkpoint_blocks: bool = field(
        default=False, metadata={"help": "Recompute each block in the backward pass: much less memory, a fifth slower."}
    )

    without_effect: ClassVar[Mapping[str, str]] = WITHOUT_EFFECT
    learns_from_start: ClassVar[bool] = False
    """True when the run's initial model is its teacher, with which the result is then compared."""

    def sampled_with(self) -> dict[str, Any]:
        """Return the sampling settings for the trained adapter; None: the model's own."""
        return {"num_steps": self.num_steps, "guidance": self.guidance}

    def own_checkpointing(self) -> None:
        """Replace the library's two names for checkpointing by `checkpoint_blocks`.

        A diffusion network does not have the hooks that they need.
        """
        library: Any = self
        self.checkpoint_blocks |= bool(library.gradient_checkpointing or library.activation_checkpointing)
        library.gradient_checkpointing, library.activation_checkpointing = None, False

    def request_fields(self) -> dict[str, Any]:
        """Return the fields of a `GenerationRequest` that are set here."""
        return {name: value for name in REQUEST_FIELDS if (value := getattr(self, name)) is not None}

    def check_video(self) -> None:
        """Raise ConfigError for a setting that no video trainer supports."""
        self._check_choices()
        for entry in fields(self):
            if entry.name in self.without_effect and (got := getattr(self, entry.name)) != entry.default:
                why = self.without_effect[entry.name]
                raise ConfigError(f"{entry.name} = {got!r} would have no effect here, since {why}: leave it out.")
        if self.lora_rank < 0:
            raise ConfigError(f"lora_rank must be 0 (the whole network) or more, but got {self.lora_rank}.")
        if self.sample_clips < 0 or any(n is not None and n < 1 for n in (self.sample_every, self.sample_steps)):
            raise ConfigError(
                "sample_clips must be 0 or more, sample_every and sample_steps 1 or more, but got "
                f"{self.sample_clips}, {self.sample_every} and {self.sample_steps}."
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be at least 0 and below 1, but got {self.ema_decay}.")
        library: Any = self
        library.dataloader_pin_memory = False  # rows are text and arrays, which cannot be pinned

    def _check_choices(self) -> None:
        """Raise ConfigError for an invalid choice, since a dataclass accepts any value for a Literal."""
        for name, hint in get_type_hints(type(self)).items():
            kinds = (hint, *get_args(hint))
            choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
            got = getattr(self, name)
            if choices and got not in choices and not (got is None and NoneType in kinds):
                raise ConfigError(f"{name} = {got!r} is no choice. {did_you_mean(str(got), map(str, choices))}")


@dataclass
class VideoDPOConfig(VideoArguments, DPOConfig):
    """`trl.DPOConfig` for pairs of clips.

    `loss_type` is sigmoid, ipo, hinge or "sft", or "sft" with one of the others, weighted by `loss_weights`. `beta` has
    no meaning without `error_scale`: compare `beta_eff`, their product, with the papers (Diffusion-DPO: 5000 for noise
    prediction; DPO on flow models: 100 to 2000).
    """

    beta: float = field(
        default=0.2, metadata={"help": "Strength of the pull to the reference, multiplied by error_scale."}
    )
    error_scale: float | None = field(
        default=None,
        metadata={"help": "S in beta_eff = S beta; None = 2500 for velocity prediction, 25,000 for noise prediction."},
    )
    prompt_dropout: float = field(
        default=0.0, metadata={"help": 'Share of the rows of loss type "sft" without their prompt, for guidance.'}
    )
    pair_weight_power: float = field(
        default=0.0, metadata={"help": "VideoDPO's re-weighting by a pair's `score`; 0 = off."}
    )
    skip_damaged: bool = field(
        default=False,
        metadata={"help": "Skip pairs with a clip that cannot be read; false = refuse the run."},
    )
    learning_rate: float = field(
        default=1e-4, metadata={"help": "Learning rate; higher than TRL's 1e-6, which is for whole networks."}
    )
    gradient_checkpointing: bool | None = None
    bf16: bool | None = False  # the model's preset sets the dtype of its networks; autocast would conflict with it
    remove_unused_columns: bool = False  # the rows are prompts and clips, which no forward signature has
    report_to: str | list[str] | None = "none"

    def __post_init__(self) -> None:
        self.own_checkpointing()
        super().__post_init__()
        self.check_video()
        compared = [name for name in self.loss_type if name != "sft"]
        is_valid = set(compared) <= set(PREFERENCES) and len(set(self.loss_type)) == len(self.loss_type)
        if not is_valid or len(compared) > 1:
            raise ConfigError(
                "loss_type must be one of sigmoid, ipo, hinge and sft, or sft with one of the others, but got "
                f"{', '.join(self.loss_type)}."
            )
        if not 0 <= self.prompt_dropout < 1:
            raise ConfigError(f"prompt_dropout must be at least 0 and below 1, but got {self.prompt_dropout}.")
        if self.prompt_dropout and self.preference:
            raise ConfigError(
                f"prompt_dropout = {self.prompt_dropout} would have no effect with the preference "
                f'"{self.preference}", whose pairs keep their prompts: set it to 0, or loss_type to "sft" alone.'
            )
        if self.beta <= 0 or (self.error_scale is not None and self.error_scale <= 0):
            raise ConfigError(f"beta and error_scale must be above 0, but got {self.beta} and {self.error_scale}.")
        if not 0 <= self.label_smoothing <= 0.5:
            raise ConfigError(
                f"label_smoothing must be within 0 and 0.5, the share of votes that are wrong, but got "
                f"{self.label_smoothing}."
            )
        if self.label_smoothing and self.preference != "sigmoid":
            raise ConfigError(
                f"label_smoothing = {self.label_smoothing} would have no effect with loss_type "
                f"{', '.join(self.loss_type)}: set it to 0, or take sigmoid."
            )
        if self.loss_weights and (min(self.loss_weights) < 0 or max(self.loss_weights) == 0):
            raise ConfigError(
                "loss_weights must be 0 or more and one of them above 0, but got "
                f"{', '.join(f'{weight:g}' for weight in self.loss_weights)}."
            )

    @property
    def preference(self) -> Loss | None:
        """The loss type that compares the clips of a pair; None when only the chosen clips are trained on."""
        return next((name for name in PREFERENCES if name in self.loss_type), None)

    def weight_of(self, loss: str) -> float:
        """Return the weight of a loss type; 0 for one that is not set."""
        weights: list[float] = self.loss_weights or [1.0] * len(self.loss_type)
        return dict(zip(self.loss_type, weights, strict=True)).get(loss, 0.0)

    def beta_eff(self, prediction: Prediction) -> float:
        """Return beta in the papers' units for a kind of prediction."""
        return self.beta * self.scale_of(prediction)

    def scale_of(self, prediction: Prediction) -> float:
        """Return S; the default of the kind of prediction if it is not set."""
        return default_scale(prediction) if self.error_scale is None else self.error_scale


@dataclass
class OnlineArguments(VideoArguments):
    """Settings of trainers that generate and score their own clips."""

    without_effect: ClassVar[Mapping[str, str]] = ONLINE_WITHOUT_EFFECT

    advantage_scale: Literal["group", "batch", "max_group", "none"] = field(
        default="max_group",
        metadata={"help": "Standard deviation that divides the advantages; see engine.algorithms.advantages."},
    )
    advantage_floor: float = field(
        default=0.02,
        metadata={"help": "Least standard deviation to divide by; smaller differences of a reward are noise."},
    )
    advantage_limit: float = field(default=5.0, metadata={"help": "Largest absolute value of an advantage."})
    rollout_batch: int = field(default=16, metadata={"help": "Clips that are generated together."})

    def check_video(self) -> None:
        library: Any = self
        if library.scale_rewards not in ("group", "batch", "none"):
            raise ConfigError(f"scale_rewards must be group, batch or none, but got {library.scale_rewards!r}.")
        if library.scale_rewards != "group":  # not TRL's default: set our scale of the same name
            if self.advantage_scale not in ("max_group", library.scale_rewards):
                raise ConfigError(
                    f"scale_rewards = '{library.scale_rewards}' and advantage_scale = '{self.advantage_scale}' "
                    "contradict each other: leave scale_rewards out."
                )
            self.advantage_scale = library.scale_rewards
        super().check_video()
        _check_rollout_batch(self.rollout_batch)
        if self.advantage_limit <= 0 or self.advantage_floor < 0:
            raise ConfigError(
                "advantage_limit must be above 0 and advantage_floor 0 or more, but got "
                f"{self.advantage_limit} and {self.advantage_floor}."
            )
        if library.multi_objective_aggregation not in get_args(Aggregation):
            raise ConfigError(
                f"multi_objective_aggregation must be {' or '.join(get_args(Aggregation))}, but got "
                f"{library.multi_objective_aggregation!r}."
            )


@dataclass
class VideoGRPOConfig(OnlineArguments, GRPOConfig):
    """`trl.GRPOConfig` for clips. `epsilon` is the clip range of the ratio, `beta` the weight of the KL."""

    sde_form: Literal["flow_grpo", "dance", "cps", "ddim"] = field(
        default="flow_grpo",
        metadata={
            "help": "Form of a random denoising step; ddim for noise predictors. The clip range of the authors of cps "
            "is not a value for epsilon: their log-probability lacks 1 / (2 std^2)."
        },
    )
    noise_level: float | None = field(
        default=None,
        metadata={
            "help": "The papers' a or eta; None = the default of the form: flow_grpo and cps 0.7, dance 0.3, ddim 1."
        },
    )
    window: int | None = field(
        default=None, metadata={"help": "Number of random, trained steps (MixGRPO); None = all but the last."}
    )
    window_every: int = field(default=25, metadata={"help": "Iterations after which the window moves by one step."})
    # A log-probability is a mean over about 1e6 elements: ratios move by 1e-5, and TRL's 0.2 would never fire. For
    # sde_form cps this is not the range of Flow-CPS' code, which leaves 1 / (2 std^2) out (engine.sampling.steps).
    epsilon: float = 1e-4
    learning_rate: float = 1e-4
    num_generations: int | None = 8
    # The rewards' scales differ: each is normalised before they are summed (GDPO).
    multi_objective_aggregation: str = "normalize_then_sum"
    loss_type: str = "grpo"
    gradient_checkpointing: bool | None = None
    bf16: bool | None = False
    report_to: str | list[str] | None = "none"

    def __post_init__(self) -> None:
        self.own_checkpointing()
        super().__post_init__()
        self.check_video()
        if self.epsilon <= 0 or (self.noise_level is not None and self.noise_level <= 0):
            raise ConfigError(f"epsilon and noise_level must be above 0, got {self.epsilon} and {self.noise_level}.")
        if self.sde_form == "cps" and self.random_level > 1:
            raise ConfigError(f"noise_level must be at most 1 for sde_form cps, got {self.noise_level}.")

    @property
    def random_level(self) -> float:
        """The noise level of the random steps."""
        return DEFAULT_LEVELS[self.sde_form] if self.noise_level is None else self.noise_level


@dataclass
class VideoNFTConfig(OnlineArguments, GRPOConfig):
    """DiffusionNFT with the fields of `trl.GRPOConfig`: groups, rewards and batches mean the same there.

    `beta` is the weight of the KL to the model before training; `mixing` is the paper's beta.
    """

    mixing: float = field(default=1.0, metadata={"help": "Distance of the implicit policies from the old one, 0..1."})
    levels_per_clip: int = field(default=2, metadata={"help": "Noise levels per clip and pass."})
    old_decay_flat: int = field(default=0, metadata={"help": "Updates before the old policy starts to lag."})
    old_decay_slope: float = field(default=0.001, metadata={"help": "Increase of the lag per update."})
    old_decay_most: float = field(default=0.5, metadata={"help": "Largest lag, below 1."})
    guidance: float | None = field(default=1.0, metadata={"help": "Guidance scale of the rollouts; NFT uses none: 1."})
    learning_rate: float = 1e-4
    num_generations: int | None = 8
    multi_objective_aggregation: str = "normalize_then_sum"
    gradient_checkpointing: bool | None = None
    bf16: bool | None = False
    report_to: str | list[str] | None = "none"

    def __post_init__(self) -> None:
        self.own_checkpointing()
        super().__post_init__()
        self.check_video()
        if self.guidance is not None and self.guidance > 1:
            raise ConfigError(
                f"guidance is {self.guidance:g}, but NFT trains without guidance: its rollouts need guidance 1."
            )
        if not 0 < self.mixing <= 1:
            raise ConfigError(f"mixing must be above 0 and at most 1, but got {self.mixing}.")
        if self.levels_per_clip < 1:
            raise ConfigError(f"levels_per_clip must be 1 or more, but got {self.levels_per_clip}.")


@dataclass
class VideoDistillConfig(VideoArguments, TrainingArguments):
    """Distillation to a few steps. `num_steps` and `guidance` are the teacher's.

    The student has no guidance.
    """

    learns_from_start: ClassVar[bool] = True

    student_steps: int = field(default=4, metadata={"help": "Denoising steps of the student: 1, 2, 4 or 8."})
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
    learning_rate: float = 1e-4
    gradient_checkpointing: bool | None = None
    remove_unused_columns: bool = False
    report_to: str | list[str] | None = "none"

    def __post_init__(self) -> None:
        self.own_checkpointing()
        super().__post_init__()
        self.check_video()
        if self.student_steps < 1 or self.rollout_clips < 1 or self.steps_per_rollout < 1:
            raise ConfigError("student_steps, rollout_clips and steps_per_rollout must be 1 or more.")
        if self.num_steps is not None and self.num_steps < self.student_steps:
            raise ConfigError(f"The teacher has {self.num_steps} steps, fewer than its student's {self.student_steps}.")
        _check_rollout_batch(self.rollout_batch)
        if self.huber <= 0:
            raise ConfigError(f"huber must be above 0, but got {self.huber}.")

    def sampled_with(self) -> dict[str, Any]:
        return {"num_steps": self.student_steps, "guidance": 1.0}


def _check_rollout_batch(rollout_batch: int) -> None:
    if rollout_batch < 1:
        raise ConfigError(f"rollout_batch must be 1 or more, but got {rollout_batch}.")
