"""`GenerationRequest`: all inputs that determine a clip. Its hash is the clip's id. Imports no torch."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from rewards.models import FiniteModel, FrozenModel

PROMPT_LIMIT = 2000  # characters
SEED_LIMIT = 2**63  # exclusive
PICTURE = r"^[0-9a-f]{64}$"
OMITTED_WHEN_EMPTY = ("image", "last_image", "adapters")  # the hash has them only when set: older ids stay valid


class GivenKeyframe(FiniteModel):
    """A user's picture for one frame of the clip.

    `picture` is the SHA-256 of its stored file (64 hex digits).
    """

    frame: int = Field(ge=0)
    picture: str = Field(pattern=PICTURE)


KEYFRAME_GUIDANCE = 7.0  # higher than a clip's: each keyframe should show its prompt clearly


class KeyframePlan(FiniteModel):
    """Settings of keyframe-then-inbetween; guidances as in classifier-free guidance, `flow_guidance` 0..1.

    `source` is the origin of the keyframes: "joint" (frames of one quick draft of the whole clip), "independent" (each
    generated on its own, the naive method) or "given" (the user's pictures only). Given pictures replace generated
    ones. With several joint `drafts`, the draft with the highest score by the mix `choose_by` (a key of
    `presets/rewards`) is used.
    """

    interval: int = Field(8, ge=2, description="Frames from one keyframe to the next.")
    keyframe_guidance: float = Field(
        KEYFRAME_GUIDANCE, ge=0, le=30, description="Guidance of the keyframes: higher shows the prompt more clearly."
    )
    inbetween_guidance: float = Field(
        3.0, ge=0, le=30, description="Guidance of the frames between the keyframes, usually lower than theirs."
    )
    flow_guidance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How strongly the frames between follow the motion estimated from the keyframes; 0: not at all.",
    )
    source: Literal["joint", "independent", "given"] = Field(
        "joint",
        description="Joint: frames of one quick draft of the whole clip, which fit together. Independent: each "
        "keyframe is generated on its own.",
    )
    drafts: int = Field(
        1, ge=1, le=16, description="Number of joint drafts; the one with the highest score by the mix is used."
    )
    choose_by: str | None = None
    given: tuple[GivenKeyframe, ...] = ()


class WindowPlan(FiniteModel):
    """Windows of a clip that is longer than the model's context: `length` and `overlap` in frames."""

    length: int = Field(64, ge=2, description="Frames that are generated at once, up to the model's longest clip.")
    overlap: int = Field(
        16, ge=1, description="Frames that a window shares with the one before it: more hide the transition better."
    )


class ScaledAdapter(FiniteModel):
    """One of several adapters: its LoRA is multiplied by `scale`."""

    name: str = Field(min_length=1)
    scale: float = Field(1.0, ge=-10, le=10)


class SweepAxis(FrozenModel):
    """A setting that clips differ in, with its values in order, as typed."""

    name: str = Field(min_length=1)
    values: tuple[str, ...] = Field(min_length=1)


def adapter_fields(scales: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a request for adapters; a single one at a scale of 1 is `adapter`."""
    if [scale for _, scale in scales] == [1]:
        return {"adapter": scales[0][0], "adapters": []}
    return {"adapter": None, "adapters": [{"name": name, "scale": scale} for name, scale in scales]}


class GenerationRequest(FiniteModel):
    """All inputs that determine a clip: the same request always gives the same clip.

    `model` is the key of a preset in `presets/models`, `adapter` the name of trained LoRA weights or None. For several
    adapters, whose effects add up, or a scale other than 1, `adapters` is used instead. `image` and `last_image` are
    the pictures that the clip begins and ends with, as SHA-256 of their stored files (64 hex digits).
    """

    prompt: str = Field(min_length=1, max_length=PROMPT_LIMIT, description="What the clip should show.")
    negative_prompt: str = Field(
        "", max_length=PROMPT_LIMIT, description="What the clip should not show; used at a guidance above 1."
    )
    model: str = Field("mini", description="The network that generates the clip, by its preset.")
    adapter: str | None = None
    adapters: tuple[ScaledAdapter, ...] = Field(
        (), description="Trained LoRA weights that are added to the model; the strength scales them."
    )
    num_frames: int = Field(33, ge=1, le=10_000, description="Length of the clip; frames divided by FPS are seconds.")
    width: int = Field(64, ge=16, le=8192, description="Width in px; models are best near the size of their preset.")
    height: int = Field(64, ge=16, le=8192, description="Height in px; models are best near the size of their preset.")
    fps: float = Field(8.0, gt=0, le=240, description="Frames per second, which some models also take as an input.")
    num_steps: int = Field(
        20, ge=1, le=1000, description="Passes of the network from noise to a clip: more take longer, look better."
    )
    guidance: float = Field(
        3.0,
        ge=0,
        le=30,
        description="How strongly the prompt steers (classifier-free guidance): higher follows it more closely, too "
        "high looks oversaturated, 1 switches it off.",
    )
    mode: Literal["direct", "keyframes", "windows"] = Field(
        "direct",
        description="Single pass: the whole clip at once. Keyframes: a few frames first, then those between. Sliding "
        "window: clips longer than the model supports.",
    )
    keyframes: KeyframePlan | None = None
    windows: WindowPlan | None = None
    image: str | None = Field(None, pattern=PICTURE, description="Picture that the clip begins with.")
    last_image: str | None = Field(None, pattern=PICTURE, description="Picture that the clip ends with.")
    seed: int = Field(
        0, ge=0, lt=SEED_LIMIT, description="Number of the random noise: the same seed and settings make the same clip."
    )

    @model_validator(mode="after")
    def _check_adapters(self) -> "GenerationRequest":
        names = [used.name for used in self.adapters]
        if self.adapter is not None and names:
            raise ValueError("'adapter' and 'adapters' exclude each other")
        if len(set(names)) < len(names):
            raise ValueError("an adapter is named twice: add its scales")
        return self

    @property
    def scales(self) -> dict[str, float]:
        """The scale of each adapter by its name."""
        return {used.name: used.scale for used in self.adapters} or ({self.adapter: 1.0} if self.adapter else {})

    @property
    def adapter_label(self) -> str | None:
        """The adapters as they are shown, such as "film-look" or "film-look 0.8 + motion 0.5"; None for none."""
        return self.adapter or " + ".join(f"{used.name} {used.scale:g}" for used in self.adapters) or None

    @property
    def id(self) -> str:
        """The clip's id: 16 hex digits of the request's hash."""
        fields = self.model_dump(mode="json")
        hashed = {name: value for name, value in fields.items() if name not in OMITTED_WHEN_EMPTY or value}
        canonical = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def with_seed(self, seed: int) -> "GenerationRequest":
        """Return the same request with another seed, modulo `SEED_LIMIT`."""
        return self.model_copy(update={"seed": seed % SEED_LIMIT})

    def without_adapters(self) -> "GenerationRequest":
        """Return the same request for the base model."""
        return self.model_copy(update={"adapter": None, "adapters": ()})

    def with_seeds(self, count: int) -> "list[GenerationRequest]":
        """Return `count` copies of this request with consecutive seeds, beginning with its own."""
        return [self.with_seed(self.seed + offset) for offset in range(count)]
