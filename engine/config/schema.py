"""Schemas of hand-written presets. Every model is frozen and refuses unknown keys. Imports no torch."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.config.alarm_settings import AlarmSettings
from engine.config.algorithms import ALGORITHMS, CLIP_DATA
from engine.request import KEYFRAME_GUIDANCE
from rewards.models import FiniteModel, FrozenModel

REQUEST_FIELDS = ("num_frames", "width", "height", "fps", "num_steps", "guidance")


class NetworkShape(FiniteModel):
    """Size of a model's networks, the input of memory and time estimates (`engine.estimation`).

    `python -m tools.memory KEY` writes it, from the configuration of the model and from fake-tensor peaks.
    """

    dtype: Literal["float32", "bfloat16", "float16"]
    """Data type that the sizes are of; those in another type are scaled."""
    params: float = Field(gt=0)
    """Number of weights of the network that is trained, all experts included."""
    block_params: float = Field(0, ge=0)
    """Number of weights of its largest block, which is gathered as a whole when weights are sharded."""
    lora_params: float = Field(gt=0)
    """Number of weights of an adapter for each unit of its rank."""
    network_gib: float = Field(gt=0)
    """GiB of the weights of the network that is trained."""
    float8_gib: float = Field(gt=0)
    """GiB of the same weights with blocks in 8 bits, see `weights` of a model."""
    offloaded_gib: float = Field(gt=0)
    """GiB of the same weights that are on the device at once with `offload_blocks` of a model."""
    vae_gib: float = Field(0, ge=0)
    """GiB of the weights of the VAE."""
    vae_float32: bool = False
    """The VAE computes in float32, also when the network does not."""
    text_gib: float = Field(0, ge=0)
    """GiB of the weights of text and image encoders."""
    other_gib: float = Field(0, ge=0)
    """GiB of the weights of other parts, which stay on the device."""
    token: tuple[int, int]
    """Frames and pixels (of each side) of one token. A U-Net's token is a latent."""
    forward_bytes: tuple[float, float] | tuple[float, float, float]
    """Peak of a prediction above the weights: bytes per token, per clip, and per token squared (dense masks)."""
    update_bytes: tuple[float, float] | tuple[float, float, float]
    """The same of a prediction and its backward pass with `gradient_checkpointing`."""
    kept_factor: float = Field(gt=0)
    """The same peak without `gradient_checkpointing`, relative to the peak with it."""
    whole_factor: float = Field(1.0, gt=0)
    """The same peak when the whole network is trained, relative to the peak with an adapter."""
    decode_bytes: tuple[float, float, float]
    """Peak of decoding a clip: bytes per pixel of all frames, per pixel of one frame, and constant."""
    tiled_bytes: tuple[float, float, float]
    """Peak of decoding a clip with `tile_vae`: bytes per pixel of all frames, per frame, and constant."""
    text_bytes: float = Field(0, ge=0)
    """Peak of encoding a prompt above the weights, in bytes."""
    flop: tuple[float, float, float]
    """FLOPs of a prediction for one clip of N tokens: constant, per N, and per N squared (attention)."""
    decode_flop: float = Field(0, ge=0)
    """FLOPs of decoding, per pixel of all frames."""
    decoding_of: str = ""
    """Key of the preset with the same VAE whose laws of decoding these are; "" for laws of its own."""
    error: float = Field(0, ge=0)
    """Largest deviation of the estimated peaks from fake-tensor peaks at shapes that they were not fitted to."""
    source: str = Field(min_length=1)
    """Source of the numbers."""


class ModelPreset(FiniteModel):
    """A model: its family, the location of its weights, and its default settings.

    To add a model of a known family, add such a file to `presets/models/`.
    """

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """The file's name without `.toml`; requests refer to the model by it."""
    title: str = Field(min_length=1)
    """Title on the page."""
    family: str
    """A key of `engine.families.registry.FAMILIES`."""
    source: str = Field(min_length=1)
    """A diffusers folder (absolute, or relative to the repository), or a hub id such as `owner/name`."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Data type of computation, independent of the type of the stored weights."""
    licence: str = ""
    """Licence of the weights, in a few words."""
    download_gb: float | None = Field(None, gt=0)
    """Size of the weights in GB, estimated from the parameter counts: at 4 bytes each where the repository is known to
    hold float32, else at 2 bytes. The download may be larger."""
    width: int = Field(ge=16, le=8192)
    """px; the default of a new clip, like the next five fields."""
    height: int = Field(ge=16, le=8192)
    """px."""
    num_frames: int = Field(ge=1)
    """Frames of a clip; must be a length that the family supports."""
    fps: float = Field(gt=0, le=240)
    """Frames per second; also the conditioning value of models that take a frame rate."""
    num_steps: int = Field(ge=1, le=1000)
    """Denoising steps."""
    guidance: float = Field(ge=0, le=30)
    """Classifier-free guidance scale; 1 or less disables it and halves the time."""
    keyframe_guidance: float = Field(KEYFRAME_GUIDANCE, ge=0, le=30)
    """Guidance scale for keyframes that are generated first, if a request sets none."""
    max_frames: int = Field(ge=1)
    """Maximum length of a clip that the model generates in one piece, in frames."""
    min_frames: int = Field(0, ge=0)
    """Minimum length that the model was trained on and the page offers; 0: the minimum of its family."""
    size_multiple: int | None = Field(None, ge=1)
    """px; width and height must be multiples of it. None: the value of the family's spec."""
    revision: str | None = Field(None, pattern=r"^[\w./-]+$")
    """Revision of the hub's repository: a commit, a tag or a branch. None: the newest."""
    parts: dict[str, str] = Field(default_factory=dict)
    """Parts of the model with their own source, such as AnimateDiff's motion_adapter: part -> folder, or hub id with
    optional @revision."""
    scheduler: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Overrides of the model's `scheduler_config.json`: its shift, its spacing, or another scheduler by `_class_name`.
    Settings that do not exist or change no noise level are refused when the model is loaded."""
    offload_text: bool = False
    """Keep the text encoder on the CPU between prompts: less device memory, slightly more time per prompt."""
    weights: Literal["full", "float8", "int8"] = "full"
    """Storage of the weights of the network's blocks, computed in `dtype`: float8 and int8 take half of the memory and
    lose precision, int8 less. Training then needs an adapter and `gradient_checkpointing`; int8 also the extra
    `quantization`. The former `weights_float8 = true` is still read."""
    offload_blocks: bool = False
    """Keep the network's blocks on the CPU, and load each one shortly before it is needed: little device memory, but
    more time per step. Only for generation."""
    tile_vae: bool = False
    """Decode with the VAE tile by tile: much less memory for large frames, but faint seams that may affect rewards."""
    context_frames: int = Field(0, ge=0, multiple_of=4)
    """Context length in frames for longer clips by FreeNoise (AnimateDiff); 0: no FreeNoise."""
    distilled: bool = False
    """Distilled to `num_steps` steps without guidance: trained at these, by the algorithms that leave it so."""
    judge: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    """Exact judge of whether a clip shows its prompt, as "module:function" of frames and a prompt. It is reported by
    evaluations and never trained on. Only a synthetic world such as mini's has one."""
    network: NetworkShape | None = None
    """Size of the networks. None: no estimates for runs that train this model."""
    recommended: str = ""
    """Recommended settings, one sentence for the page."""
    notes: str = ""
    """Measurements, with hardware and date; or "not measured"."""

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or not isinstance(fields.get("weights_float8"), bool):
            return fields
        others = {name: value for name, value in fields.items() if name != "weights_float8"}
        return {"weights": "float8" if fields["weights_float8"] else "full", **others}

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.weights == "int8" and self.offload_blocks:
            raise ValueError("weights = 'int8' cannot be moved block by block: set offload_blocks to false")
        if self.num_frames > self.max_frames:
            raise ValueError(f"num_frames = {self.num_frames} is more than max_frames = {self.max_frames}")
        return self

    def defaults(self) -> dict[str, Any]:
        """Return the default `GenerationRequest` fields of a new clip."""
        return {"model": self.key, **{name: getattr(self, name) for name in REQUEST_FIELDS}}


Setting = str | bool | int | float | list[str] | list[float] | None


FORMER_SETTINGS = {"checkpoint_blocks": "gradient_checkpointing"}


def named_as_today(settings: object) -> object:
    """Return settings of a stored run or preset with the present names in the place of former ones."""
    if not isinstance(settings, dict):
        return settings
    present = {FORMER_SETTINGS.get(name, name): value for name, value in settings.items()}
    return present | {name: settings[name] for name in present if name in settings}


class TrainPreset(FrozenModel):
    """A training preset: algorithm, model, training data, and settings of the trainer's config.

    `settings` are fields of `engine.training.trainer_settings`'s classes; unknown ones are refused when the run is
    built.
    """

    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The file's name without `.toml`; runs are named after it."""
    title: str = Field(min_length=1)
    """Title on the page."""
    algorithm: str = Field(json_schema_extra={"enum": list(ALGORITHMS)})
    """Training algorithm; it determines the available `settings`."""
    model: str = "mini"
    """A key of `presets/models`."""
    mix: str | None = None
    """Rewards to train on, a key of `presets/rewards`; for algorithms that generate their own clips."""
    rewards: Literal["parts", "total"] = "parts"
    """parts: each reward of the mix, weighted and normalised by the trainer. total: the mix's total, with gates."""
    prompts: str | None = None
    """A file of `presets/prompts` (without its suffix), a path, or `hub:owner/name`: see docs/prompts.md."""
    pairs: str | None = None
    """For dpo: a folder or file of preference data, see `engine.labelling.preference_formats`. For kto: the same, or
    clips with labels; for sft: videos with captions; see `engine.training.data.clip_rows`. Or the name of a data set of
    the workspace, see `dailies datasets`."""
    campaign: str | None = None
    """For dpo, kto and sft, instead of `pairs`: the id of a labelling campaign, whose votes make a new run's pairs."""
    min_margin: float = Field(0.0, ge=0, le=1)
    """Minimum margin of a campaign's pairs; 1 is unanimous, see `PreferencePair.margin`."""
    judge: str | None = None
    """AI labeller of the campaign, a pairwise judge: its votes make the pairs that people have not compared."""
    judge_agreement: float = Field(0.7, ge=0, le=1)
    """Least share of the judge's preferences that people share, over 20 pairs or more; 0: not checked."""
    test_prompts: str | None = None
    """Held-out prompts for evaluations and alarms; None: `prompts`."""
    watch: str | None = None
    """Mix of rewards that evaluations and alarms also measure; those not in `mix` are held out."""
    alarms: AlarmSettings = AlarmSettings()
    """Settings of reward-hacking alarms."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Settings of the algorithm's trainer."""
    source: str = ""
    """Source of the numbers."""
    notes: str = ""
    """Measurements with these numbers, with hardware and date; or "not measured"."""

    @field_validator("settings", mode="before")
    @classmethod
    def _named_as_today(cls, settings: object) -> object:
        return named_as_today(settings)

    @field_validator("algorithm")
    @classmethod
    def _known(cls, algorithm: str) -> str:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"the algorithms are {', '.join(ALGORITHMS)}")
        return algorithm

    @model_validator(mode="after")
    def _complete(self) -> Self:
        data = ALGORITHMS[self.algorithm].data
        if self.pairs and self.campaign:
            raise ValueError("give either pairs or campaign")
        if self.judge and not self.campaign:
            raise ValueError("judge names an AI labeller of a campaign: give campaign too, or leave judge out")
        if data not in CLIP_DATA and (self.pairs or self.campaign):
            key = "pairs" if self.pairs else "campaign"
            raise ValueError(f"{self.algorithm} does not train on pairs: leave {key} out, or choose algorithm dpo")
        pairs = "campaign" if self.campaign else "pairs"
        required = {"rewards": ("mix", "prompts"), "prompts": ("prompts",)}
        missing = [name for name in required.get(data, (pairs,)) if not getattr(self, name)]
        if missing:
            raise ValueError(f"{self.algorithm} needs {' and '.join(missing)}")
        return self
