"""Estimate of the device memory that generation needs, from the size of the networks.

Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.config.presets import load_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.estimation.memory import GIB, TrainingLoad, decode, forward_activations, weights
from engine.families.registry import family_spec
from engine.generation.clip_plan import ANY_LENGTH, keyframe_plan, longest_piece, window_plan
from engine.model_spec import ModelFamily
from engine.request import GenerationRequest

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipEstimate:
    """Memory in GiB of the networks, of a forward pass, and of decoding a clip.

    Passes and decoding do not overlap, so the peak contains the larger of the two.
    """

    weights: float
    passes: float
    decoding: float

    @property
    def peak(self) -> float:
        return self.weights + max(self.passes, self.decoding)


def estimate_clip(
    model: ModelPreset, request: GenerationRequest, count: int, *, num_frames: int | None = None
) -> ClipEstimate | None:
    """Estimate the memory of a batch of `count` clips, optionally with another number of frames.

    Returns None if the size of the model is unknown.
    """
    if model.network is None:
        return None
    spec = family_spec(model.family)
    frames = num_frames or longest_piece(request, spec)
    if request.mode in ANY_LENGTH:
        frames = min(frames, window_plan(request).length)
    load = TrainingLoad(
        shape=model.network,
        num_frames=frames,
        width=request.width,
        height=request.height,
        tokens=clip_tokens(model, frames, request.width, request.height),
        text_tokens=spec.text_tokens or 128,
        graph_clips=0,
        rollout_clips=count * rows_per_clip(model, highest_guidance(request)),
        bytes_each=BYTES[model.dtype],
        tiled_decode=model.tile_vae,
    )
    return ClipEstimate(
        weights=weights(load) / GIB, passes=forward_activations(load) / GIB, decoding=decode(load) / GIB
    )


def clip_tokens(model: ModelPreset, num_frames: int, width: int, height: int) -> int:
    """Return the number of tokens of a clip: latent frames times patches."""
    spec = family_spec(model.family)
    patch = model.size_multiple or spec.size_multiple
    return max(1, -(-num_frames // spec.frame_stride) * (width // patch) * (height // patch))


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
    from engine.hardware.device import device_facts

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
        f"need about {estimate.peak:.1f} GiB (networks {estimate.weights:.1f}, a pass {estimate.passes:.1f}, decoding "
        f"{estimate.decoding:.1f}) and the device has {available:.0f}; one clip of {half} frames needs about "
        f"{smaller.peak:.1f}"
    )
