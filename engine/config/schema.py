"""What hand-written files may say. Every model is frozen and refuses unknown keys. Imports no torch."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.config.alarm_settings import AlarmSettings
from engine.request import KEYFRAME_GUIDANCE

REQUEST_FIELDS = ("num_frames", "width", "height", "fps", "num_steps", "guidance")


class NetworkShape(BaseModel):
    """The size of a model's networks, from which its memory and time are foretold (`engine.estimation.memory`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    params: float = Field(gt=0)
    """How many weights the network has that is trained."""
    vae_params: float = Field(0, ge=0)
    """How many the VAE has."""
    text_params: float = Field(0, ge=0)
    """How many a text encoder has that stays loaded."""
    channels: int = Field(ge=1)
    """Width of a token; of a U-Net about that of its widest block, as adapters see it."""
    blocks: int = Field(ge=1)
    """Transformer blocks, which gradient checkpointing recomputes one by one."""
    mlp_ratio: float = Field(4.0, gt=0)
    """Width of a block's inner layer, in widths of a token."""
    frame_gib: tuple[float, float] | None = None
    """For U-Nets, whose activations follow pixels: GiB a frame of 512x512 px in a backward pass, with blocks
    recomputed and without."""
    decode_bytes: tuple[float, float]
    """Peak of the VAE's decoder in bf16: bytes for each pixel of all frames, and for each pixel of one frame."""
    source: str = Field(min_length=1)
    """Where the numbers come from."""


class ModelPreset(BaseModel):
    """A model that Dailies can run: a family, where its weights are, and the settings that suit it.

    Adding a model of a known family is one such file in `presets/models/`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    """The file's name without `.toml`; what requests call the model."""
    title: str = Field(min_length=1)
    """What the page calls it."""
    family: str
    """A key of `engine.families.FAMILIES`."""
    source: str = Field(min_length=1)
    """A diffusers folder (absolute, or relative to the repository), or a hub id such as `owner/name`."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """What the networks compute in, whatever the weights at rest are."""
    licence: str = ""
    """Of the weights, in a few words."""
    download_gb: float | None = Field(None, gt=0)
    """Size of the weights, in GB: estimated from the parameter counts at 2 bytes each. The hub may hold more."""
    width: int = Field(ge=16, le=8192)
    """px; what a new clip starts with, as do the next five."""
    height: int = Field(ge=16, le=8192)
    """px."""
    num_frames: int = Field(ge=1)
    """Frames of a clip; lengths that the family cannot make are refused."""
    fps: float = Field(gt=0, le=240)
    """Frames a second; models that are told their speed are told this."""
    num_steps: int = Field(ge=1, le=1000)
    """Denoising steps."""
    guidance: float = Field(ge=0, le=30)
    """Classifier-free guidance scale; 1 or less: none, at half the time."""
    keyframe_guidance: float = Field(KEYFRAME_GUIDANCE, ge=0, le=30)
    """The scale for keyframes that are drawn first, where a request says none."""
    max_frames: int = Field(ge=1)
    """The longest clip that the model makes in one piece."""
    min_frames: int = Field(0, ge=0)
    """The shortest clip that it was trained on and the page offers; 0: the shortest that its family can make."""
    size_multiple: int | None = Field(None, ge=1)
    """px; width and height must be multiples of it. None = what the family's spec says."""
    revision: str | None = Field(None, pattern=r"^[\w./-]+$")
    """Which revision of the hub's repository is loaded: a commit, a tag or a branch. None = the newest."""
    parts: dict[str, str] = Field(default_factory=dict)
    """Parts of the model that come from elsewhere, such as AnimateDiff's motion_adapter: part -> folder, or hub id with
    or without an @revision."""
    scheduler: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Laid over the model's `scheduler_config.json`: its shift, its spacing, or another scheduler by `_class_name`.
    Settings that do not exist or change no noise level are refused when the model is opened."""
    offload_text: bool = False
    """The text encoder waits on the CPU between prompts: less memory on the device, a moment more a prompt."""
    tile_vae: bool = False
    """The VAE works tile by tile: far less memory for large pictures, faint seams that rewards may see."""
    context_frames: int = Field(0, ge=0, multiple_of=4)
    """Frames that the network sees at once where it makes longer clips by FreeNoise (AnimateDiff); 0: it does not."""
    distilled: bool = False
    """Made for a few steps without guidance: a model to generate with, not one to train further."""
    judge: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    """What knows whether a clip shows its prompt and is never trained on, as "module:function" of frames and a prompt;
    only a world that is known entirely has one. Evaluations report it."""
    vram_gib: float | None = Field(None, ge=0)
    """Memory on the device for a default clip, GiB. None = not measured."""
    network: NetworkShape | None = None
    """None: nothing is foretold of runs that train this model."""
    recommended: str = ""
    """One sentence for the page: what suits this model."""
    notes: str = ""
    """What was measured, on what and when; or "not measured"."""

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.num_frames > self.max_frames:
            raise ValueError(f"num_frames = {self.num_frames} is more than max_frames = {self.max_frames}")
        return self

    def defaults(self) -> dict[str, Any]:
        """The fields of a `GenerationRequest` that a new clip of this model starts with."""
        return {"model": self.key, **{name: getattr(self, name) for name in REQUEST_FIELDS}}


Setting = str | bool | int | float | list[str] | list[float] | None


class TrainPreset(BaseModel):
    """A recipe: which algorithm trains which model on what, with the settings of its trainer's config.

    `settings` are fields of `engine.training.trainer_settings`'s classes; unknown ones are refused when the run is
    built.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The file's name without `.toml`; runs are named after it."""
    title: str = Field(min_length=1)
    """What the page calls it."""
    algorithm: Literal["dpo", "grpo", "nft", "distill"]
    """What trains; it decides which `settings` there are."""
    model: str = "mini"
    """A key of `presets/models`."""
    mix: str | None = None
    """The rewards that are trained on, a key of `presets/rewards`; for algorithms that make their own clips."""
    rewards: Literal["parts", "total"] = "parts"
    """Each reward of the mix on its own, weighted and normalised by the trainer; or the mix's total, gates included."""
    prompts: str | None = None
    """A file of `presets/prompts` (without .txt), or the path of one: a prompt a line."""
    pairs: str | None = None
    """For dpo: a folder or file of preference data, see `engine.labelling.preference_formats`."""
    campaign: str | None = None
    """For dpo, instead of `pairs`: the id of a labelling campaign, whose votes make the pairs of a new run."""
    min_margin: float = Field(0.0, ge=0, le=1)
    """Of a campaign's pairs, those that people agreed on by so much: 1 is unanimous, see `PreferencePair.margin`."""
    test_prompts: str | None = None
    """Prompts that are not trained on, for evaluations and alarms; None: `prompts`."""
    watch: str | None = None
    """The mix whose rewards are measured besides; those that `mix` does not train on are held out."""
    alarms: AlarmSettings = AlarmSettings()
    """When the reward is to be suspected."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Of the algorithm's trainer."""
    source: str = ""
    """Where the numbers come from."""
    notes: str = ""
    """What was measured with them, on what and when; or "not measured"."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.pairs and self.campaign:
            raise ValueError("give either pairs or campaign")
        if self.algorithm != "dpo" and (self.pairs or self.campaign):
            given = "pairs" if self.pairs else "campaign"
            raise ValueError(f"{self.algorithm} learns from no pairs: leave {given} out, or choose algorithm dpo")
        pairs = "campaign" if self.campaign else "pairs"
        online = ("mix", "prompts")
        needed = {"dpo": (pairs,), "grpo": online, "nft": online, "distill": ("prompts",)}[self.algorithm]
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"{self.algorithm} needs {' and '.join(missing)}")
        return self
