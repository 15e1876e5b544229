"""Estimate of the device memory that generation needs, from the size of the networks.

Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.config.presets import load_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.estimation.memory import (
    GIB,
    TrainingLoad,
    decode,
    forward_activations,
    network_weights,
    options_of,
    other_weights,
    text_encoding,
    vae_weights,
)
from engine.families.registry import family_spec
from engine.family_interface import ModelFamily
from engine.generation.clip_plan import ANY_LENGTH, keyframe_plan, longest_piece, window_plan
from engine.hardware.device import device_facts
from engine.request import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEstimate:
    """Memory in GiB of the networks, of encoding a prompt, of a forward pass, and of decoding a clip.

    `network`, `vae` and `others` (text encoders that stay on the device, image encoders and the like) are resident.
    Encoding, passes and decoding do not overlap, so the peak contains the largest of the three.
    """

    network: float
    vae: float
    others: float
    text: float
    passes: float
    decoding: float

    @property
    def weights(self) -> float:
        """The resident networks."""
        return self.network + self.vae + self.others

    @property
    def peak(self) -> float:
        return self.weights + max(self.text, self.passes, self.decoding)


def estimate_clip(
    model: ModelPreset, request: GenerationRequest, count: int, *, num_frames: int | None = None
) -> ClipEstimate | None:
    """Estimate the memory of a batch of `count` clips, optionally with another number of frames.

    Returns None if the size of the model is unknown.
    """
    if model.network is None:
        return None
    load = clip_load(model, request, count, num_frames=num_frames)
    return ClipEstimate(
        network=network_weights(load) / GIB,
        vae=vae_weights(load) / GIB,
        others=other_weights(load) / GIB,
        text=text_encoding(load) / GIB,
        passes=forward_activations(load) / GIB,
        decoding=decode(load) / GIB,
    )


def clip_load(
    model: ModelPreset, request: GenerationRequest, count: int, *, num_frames: int | None = None
) -> TrainingLoad:
    """Return the size of a batch of `count` clips; the model's `network` must not be None."""
    frames = num_frames or longest_piece(request, family_spec(model.family))
    if request.mode in ANY_LENGTH:
        frames = min(frames, window_plan(request).length)
    return TrainingLoad(
        **options_of(model),  # type: ignore[arg-type]  # fields of their types
        num_frames=frames,
        width=request.width,
        height=request.height,
        graph_clips=0,
        rollout_clips=count * rows_per_clip(model, highest_guidance(request)),
    )


def highest_guidance(request: GenerationRequest) -> float:
    """Return the highest guidance of a request.

    Keyframes and in-between frames have guidance of their own.
    """
    if request.mode != "keyframes":
        return request.guidance
    plan = keyframe_plan(request)
    return max(plan.keyframe_guidance, plan.inbetween_guidance)


def rows_per_clip(model: ModelPreset, guidance: float) -> int:
    """Return the network rows per clip: two with classifier-free guidance, else one."""
    return 2 if guidance > 1 and not family_spec(model.family).embedded_guidance else 1


def describe_memory(family: ModelFamily, batch: Sequence[GenerationRequest]) -> str | None:
    """Compare the estimate for a batch of equal shapes with the device's memory; None if it is unknown."""
    first = batch[0]
    try:
        model = load_preset("models", first.model)
    except ConfigError:
        return None
    estimate = estimate_clip(model, first, len(batch))
    if not estimate:
        return None
    half = family.spec.nearest_frames(first.num_frames // 2)
    smaller = estimate_clip(model, first, 1, num_frames=half) or estimate
    available = device_facts(str(family.network.device)).memory_gib
    return (
        f"need about {estimate.peak:.1f} GiB (networks {estimate.weights:.1f}, prompts {estimate.text:.1f}, a pass "
        f"{estimate.passes:.1f}, decoding {estimate.decoding:.1f}) and the device has {available:.0f}; one clip of "
        f"{half} frames needs about {smaller.peak:.1f}"
    )
