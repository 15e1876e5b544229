"""Settings of the video trainers: TRL's config classes with fields and defaults for video.

TRL's fields keep their meaning. Some of TRL's defaults are for language models and differ here, for the reason in the
comment or help text. Fields that concern only tokens are accepted and have no effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from trl import DPOConfig, GRPOConfig

from engine.algorithms.advantages import Aggregation
from engine.algorithms.awm import TimeWeight, Weighting
from engine.algorithms.dpo import PREFERENCES, Loss
from engine.errors import ConfigError, SettingsError
from engine.request import GenerationRequest
from engine.sampling.steps import DEFAULT_LEVELS
from engine.training.clip_settings import ClipDataArguments, ScaledErrorArguments
from engine.training.prompt_settings import check_rollout_batch
from engine.training.video_arguments import ONLINE_WITHOUT_EFFECT, embeds_guidance


@dataclass
class VideoDPOConfig(ScaledErrorArguments, DPOConfig):
    """`trl.DPOConfig` for pairs of clips.

    `loss_type` is sigmoid, ipo, hinge or "sft", or "sft" with one of the others, weighted by `loss_weights`. `beta` has
    no meaning without `error_scale`: compare `beta_eff`, their product, with the papers (Diffusion-DPO: 5000 for noise
    prediction; DPO on flow models: 100 to 2000).
    """

    prompt_dropout: float = field(
        default=0.0, metadata={"help": 'Share of the rows of loss type "sft" without their prompt, for guidance.'}
    )
    pair_weight_power: float = field(
        default=0.0, metadata={"help": "VideoDPO's re-weighting by a pair's `score`; 0 = off."}
    )
    margin_scale: float = field(
        default=0.0,
        metadata={"help": "Multiple of a pair's `margin` (0..1) by which its implicit rewards must differ; 0 = off."},
    )

    def __post_init__(self) -> None:
        self.check_library(super().__post_init__)
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
        if self.margin_scale < 0 or (self.margin_scale and self.preference not in ("sigmoid", "hinge")):
            raise ConfigError(
                f"margin_scale = {self.margin_scale:g} must be 0 or more, and works with the loss types sigmoid and "
                f"hinge, not with {', '.join(self.loss_type)}."
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


@dataclass
class OnlineArguments(ClipDataArguments):
    """Settings of trainers that generate and score their own clips."""

    without_effect: ClassVar[Mapping[str, str]] = ONLINE_WITHOUT_EFFECT

    advantage_scale: Literal["group", "batch", "max_group", "none"] = field(
        default="max_group",
        metadata={"help": "Standard deviation that divides the advantages; see engine.algorithms.advantages."},
    )
    advantage_floor: float = field(
        default=0.02,
        metadata={"help": "Minimum std that advantages are divided by; smaller differences of a reward are noise."},
    )
    advantage_limit: float = field(default=5.0, metadata={"help": "Largest absolute value of an advantage."})
    rollout_batch: int = field(default=16, metadata={"help": "Clips that are generated together."})
    one_step_off: bool | None = field(
        default=None,
        metadata={
            "help": "Let actors make the next clips by the present weights while the update runs, so that clips are "
            "one generation batch old; None = where there are actors."
        },
    )
    data: str | None = field(
        default=None,
        metadata={
            "help": "Videos with captions, in a folder or a table as for SFT, whose denoising error is added to the "
            "loss so that the model stays near them (data-regularised RL); None = no data."
        },
    )
    data_weight: float = field(default=0.01, metadata={"help": "Weight of the denoising error of data."})
    num_generations: int | None = 8
    # The rewards' scales differ: each is normalised before they are summed (GDPO).
    multi_objective_aggregation: str = "normalize_then_sum"

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
        check_rollout_batch(self.rollout_batch)
        if self.data is None:
            self.refuse_unused(dict.fromkeys(("data_weight", "skip_damaged"), "there is no data"))
        if self.data_weight <= 0:
            raise ConfigError(
                f"data_weight must be above 0, but got {self.data_weight}: to train without, leave out data."
            )
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

    sde_form: Literal["flow_grpo", "sage", "dance", "wan_sde", "cps", "ddim"] = field(
        default="flow_grpo",
        metadata={
            "help": "Form of a random denoising step; ddim for noise predictors. The clip range of the authors of cps "
            "is not a value for epsilon: their log-probability lacks 1 / (2 std^2)."
        },
    )
    noise_level: float | None = field(
        default=None,
        metadata={
            "help": "The papers' a or eta; None = the default of the form: flow_grpo, sage and cps 0.7, dance 0.3, "
            "wan and ddim 1."
        },
    )
    window: int | None = field(
        default=None, metadata={"help": "Number of random, trained steps of a clip; None = all that step_share allows."}
    )
    window_every: int = field(
        default=25, metadata={"help": 'Iterations after which step_choice "window" moves by one step.'}
    )
    step_choice: Literal["window", "random", "per_prompt"] = field(
        default="window",
        metadata={
            "help": "Choice of the SDE steps: a window that moves slowly (MixGRPO), steps without neighbours drawn "
            "in each iteration, or the same drawn for each prompt (Flash-GRPO)."
        },
    )
    step_share: float = field(
        default=1.0,
        metadata={"help": "Share of the steps, from the noisiest, among which SDE steps are; Flash-GRPO: 0.51."},
    )
    step_weight: Literal["none", "gradient"] = field(
        default="none",
        metadata={"help": "gradient: weight steps so that their gradients are equal (Flash-GRPO, LongCat-Video)."},
    )
    steps_per_replay: int = field(
        default=1,
        metadata={
            "help": "SDE steps of a clip that the update takes in one forward and backward pass; more need more "
            "memory and use a GPU better when the batch is small."
        },
    )
    ratio: Literal["clip", "guard", "kl_mask"] = field(
        default="clip",
        metadata={
            "help": "Limit of the ratio by epsilon: PPO's clip; the same on GRPO-Guard's normalised ratio (its "
            "epsilon: 2e-6); or Flow-DPPO's mask of steps whose KL from the rollout reaches epsilon (1e-5)."
        },
    )
    one_step_off: bool | None = field(
        default=False,
        metadata={"help": "Let actors make the next clips during the update, whose ratio corrects for it."},
    )
    # A log-probability is a mean over about 1e6 elements: ratios move by 1e-5, and TRL's 0.2 would never fire. For
    # sde_form cps this is not the range of Flow-CPS' code, which leaves 1 / (2 std^2) out (engine.sampling.steps).
    epsilon: float = 1e-4
    loss_type: str = "grpo"

    def __post_init__(self) -> None:
        self.check_library(super().__post_init__)
        self.check_video()
        if self.epsilon <= 0 or (self.noise_level is not None and self.noise_level <= 0):
            raise ConfigError(f"epsilon and noise_level must be above 0, got {self.epsilon} and {self.noise_level}.")
        if self.sde_form == "cps" and self.sde_noise_level > 1:
            raise ConfigError(f"noise_level must be at most 1 for sde_form cps, got {self.noise_level}.")
        if not 0 < self.step_share <= 1:
            raise ConfigError(f"step_share must be above 0 and at most 1, got {self.step_share}.")
        if self.steps_per_replay < 1:
            raise ConfigError(f"steps_per_replay must be 1 or more, got {self.steps_per_replay}.")
        if self.step_choice != "window":
            self.refuse_unused({"window_every": f"step_choice is {self.step_choice!r}"})
        if self.step_choice != "window" and self.window is None:
            raise ConfigError(f"step_choice {self.step_choice!r} needs window, the number of SDE steps: set it to 1.")
        if self.ratio == "guard" and self.step_weight != "none":
            raise ConfigError("ratio 'guard' has its own weights of the steps: set step_weight to 'none'.")
        if self.ratio == "kl_mask":
            self.refuse_unused({"epsilon_high": "ratio is 'kl_mask'"})

    @property
    def sde_noise_level(self) -> float:
        """The noise level of the SDE steps."""
        return DEFAULT_LEVELS[self.sde_form] if self.noise_level is None else self.noise_level


@dataclass
class ForwardProcessConfig(OnlineArguments, GRPOConfig):
    """Settings of online trainers on the forward process.

    Groups, rewards and batches are those of `trl.GRPOConfig`.
    """

    levels_per_clip: int = field(default=2, metadata={"help": "Noise levels per clip and pass."})
    train_levels: Literal["schedule", "uniform"] = field(
        default="schedule",
        metadata={
            "help": "Noise levels of training: those of the rollouts' steps, or any of the model's schedule (RVM)."
        },
    )
    level_share: float = field(
        default=1.0, metadata={"help": "Share of these levels, from the noisiest, that are trained on; DGPO: 0.7."}
    )
    guidance: float | None = field(
        default=0.0,
        metadata={
            "help": "Guidance scale of the rollouts; training uses none. 0 = none, or the model's own where it is an "
            "input of the network."
        },
    )

    def __post_init__(self) -> None:
        self.check_library(super().__post_init__)
        self.check_video()
        if self.levels_per_clip < 1 or not 0 < self.level_share <= 1:
            raise ConfigError(
                "levels_per_clip must be 1 or more and level_share above 0 and at most 1, but got "
                f"{self.levels_per_clip} and {self.level_share}."
            )

    def template(self, model: str | None) -> GenerationRequest:
        """Return the run's request. Raises ConfigError as well where it would have guidance by a second pass."""
        is_input = embeds_guidance(model)
        if self.guidance == 0:
            self.guidance = None if is_input else 1.0
        request = super().template(model)
        if request.guidance > 1 and not is_input:
            raise SettingsError(
                f"guidance is {request.guidance:g}, but this algorithm trains without guidance: its rollouts need "
                "guidance 1."
            )
        return request


@dataclass
class VideoNFTConfig(ForwardProcessConfig):
    """Settings of DiffusionNFT.

    `beta` is the weight of the KL to the model before training; `mixing` is the paper's beta.
    """

    without_effect: ClassVar[Mapping[str, str]] = {
        **ONLINE_WITHOUT_EFFECT,
        **dict.fromkeys(("epsilon", "epsilon_high"), "NFT has no ratio"),
    }
    mixing: float = field(
        default=1.0, metadata={"help": "beta of DiffusionNFT: interpolation of the implicit policies, 0..1."}
    )
    old_decay_flat: int = field(
        default=0, metadata={"help": "Updates at which the old policy is the trained one (decay 0)."}
    )
    old_decay_slope: float = field(
        default=0.001, metadata={"help": "Increase of the old policy's EMA decay per update."}
    )
    old_decay_most: float = field(default=0.5, metadata={"help": "Largest EMA decay of the old policy, below 1."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mixing <= 1:
            raise ConfigError(f"mixing must be above 0 and at most 1, but got {self.mixing}.")


@dataclass
class VideoAWMConfig(ForwardProcessConfig):
    """Settings of AWM, RVM and DGPO.

    `epsilon` is the clip range of the ratio, `beta` the weight of the pull to the model before training.
    """

    without_effect: ClassVar[Mapping[str, str]] = {
        **ONLINE_WITHOUT_EFFECT,
        "epsilon_high": "epsilon is the limit on both sides",
    }
    weighting: Weighting = field(
        default="awm",
        metadata={
            "help": "Loss: the advantage as AWM's weight of a clipped ratio, as RVM's signed weight of the error, "
            "or in DGPO's comparison of a whole group with the model before training."
        },
    )
    preference_beta: float = field(default=100.0, metadata={"help": "beta of DGPO; its authors use 10 to 101."})
    time_weight: TimeWeight = field(
        default="ghuber", metadata={"help": "Weight of the noise levels; see engine.algorithms.awm."}
    )
    moving_beta: float = field(
        default=3e-3, metadata={"help": "Weight of the KL to a moving average (EMA) of the policy; 0 = none."}
    )
    moving_decay_slope: float = field(default=0.001, metadata={"help": "Increase of the average's decay per update."})
    moving_decay_most: float = field(default=0.3, metadata={"help": "Largest decay of the moving average, below 1."})
    advantage_limit: float = field(default=1.0, metadata={"help": "Largest absolute value of an advantage."})
    beta: float = 1e-4
    epsilon: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epsilon <= 0 or self.preference_beta <= 0 or self.moving_beta < 0:
            raise ConfigError(
                "epsilon and preference_beta must be above 0 and moving_beta 0 or more, got "
                f"{self.epsilon}, {self.preference_beta} and {self.moving_beta}."
            )
        other = f"weighting is {self.weighting!r}"
        self.refuse_unused(
            {
                **({"epsilon": other} if self.weighting == "rvm" else {}),
                **({"preference_beta": other} if self.weighting != "dgpo" else {}),
                **dict.fromkeys(
                    ("moving_decay_slope", "moving_decay_most") if not self.moving_beta else (), "moving_beta is 0"
                ),
            }
        )
        if self.weighting == "dgpo" and self.per_device_train_batch_size % (self.num_generations or 1):
            raise ConfigError(
                f"weighting dgpo compares whole groups: per_device_train_batch_size "
                f"({self.per_device_train_batch_size}) must be a multiple of num_generations ({self.num_generations})."
            )
        if not 0 <= self.moving_decay_most < 1 or self.moving_decay_slope < 0:
            raise ConfigError(
                "moving_decay_most must be at least 0 and below 1 and moving_decay_slope 0 or more, got "
                f"{self.moving_decay_most} and {self.moving_decay_slope}."
            )
