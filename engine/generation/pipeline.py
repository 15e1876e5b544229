"""From requests to clips: encode, denoise, decode, telling how far it is. Drains `sampling.sampler.denoise`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.errors import ConfigError, FamilyError
from engine.families.loading import is_memory_full
from engine.families.lora import is_active
from engine.generation import keyframes, windows
from engine.generation.clip_plan import ANY_LENGTH, check_plan
from engine.generation.context import (
    ClipReady,
    Events,
    GenerationContext,
    KeyframesReady,
    Progress,
    ProgressCounter,
    denoise_to_end,
    encode,
)
from engine.model_spec import ModelFamily
from engine.request import GenerationRequest
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for
from rewards.clip import Clip

__all__ = ["BATCH_CLIPS", "MODES", "ClipReady", "Events", "GenerationContext", "KeyframesReady", "Progress", "generate"]

BATCH_PIXELS = 4_000_000  # T*H*W of the clips that go through the network together; a larger clip goes alone
BATCH_CLIPS = 16  # and at most so many clips


def generate(
    family: ModelFamily, requests: Sequence[GenerationRequest], context: GenerationContext | None = None
) -> Events:
    """Make a clip for each request on a loaded model, yielding `Progress` as it goes and `ClipReady` for each clip.

    Requests alike in shape and settings go through the network together, so clips may come in another order than asked.
    Stop iterating to cancel: nothing runs between two events. Raises ConfigError for a plan that cannot be followed or
    an adapter that is not active, FamilyError for what the model cannot do, or when the device is full.
    """
    context = context or GenerationContext()
    for request in requests:
        _check(family, request)
    batches = _batches(requests)
    counter = ProgressCounter(of=sum(MODES[batch[0].mode].steps(family, batch[0]) for batch in batches))
    for batch in batches:
        try:
            yield from MODES[batch[0].mode].make(family, batch, context, counter)
        except (RuntimeError, MemoryError) as error:
            if not is_memory_full(error):
                raise
            raise FamilyError(_memory_full(family, batch, context)) from error


@torch.no_grad()
def generate_direct(
    family: ModelFamily, batch: Sequence[GenerationRequest], context: GenerationContext, counter: ProgressCounter
) -> Events:
    """Text to clip in one piece, for requests alike in shape and settings."""
    first = batch[0]
    yield counter.progress("encode")
    prompts = encode(family, batch, context, first.guidance)
    noise = family.init_latents(first, [generator_for(request.seed) for request in batch])
    sigmas = sigmas_for(family.scheduler_config, first.num_steps, noise.shape[2:].numel())
    latents = yield from denoise_to_end(family, noise, sigmas, prompts, first.guidance, counter)
    yield counter.progress("decode")
    for request, row in zip(batch, latents.split(1), strict=True):
        clip = Clip(frames=family.decode(row)[0], fps=request.fps, prompt=request.prompt)
        yield ClipReady(request=request, clip=clip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A way to make clips: how it makes a batch of alike requests, and how many denoising steps that takes."""

    make: Callable[[ModelFamily, Sequence[GenerationRequest], GenerationContext, ProgressCounter], Events]
    steps: Callable[[ModelFamily, GenerationRequest], int]


MODES: dict[str, Mode] = {
    "direct": Mode(make=generate_direct, steps=lambda family, request: request.num_steps),
    "keyframes": Mode(make=keyframes.generate_keyframes, steps=keyframes.count_steps),
    "windows": Mode(make=windows.generate_windows, steps=windows.count_steps),
}


def _check(family: ModelFamily, request: GenerationRequest) -> None:
    if request.mode not in ANY_LENGTH and not family.spec.allows_frames(request.num_frames):
        nearest = family.spec.nearest_frames(request.num_frames)
        raise FamilyError(f"{family.spec.title} cannot make {request.num_frames} frames: the nearest is {nearest}.")
    check_plan(request, family.spec)
    if not is_active(family.network, request.adapter):
        wanted = f"adapter '{request.adapter}'" if request.adapter else "no adapter"
        raise ConfigError(f"The request is for {wanted}, but the model is loaded otherwise: use_adapter switches it.")


def _batches(requests: Sequence[GenerationRequest]) -> list[list[GenerationRequest]]:
    """Requests that may share a forward pass, together; each batch small enough for the network."""
    groups: dict[tuple[object, ...], list[GenerationRequest]] = {}
    for request in requests:
        alike = (request.num_frames, request.width, request.height, request.fps, request.num_steps, request.guidance)
        groups.setdefault((request.mode, request.keyframes, request.windows, *alike), []).append(request)
    return [batch for group in groups.values() for batch in _cut(group)]


def _cut(group: list[GenerationRequest]) -> list[list[GenerationRequest]]:
    first = group[0]
    pixels = first.num_frames * first.width * first.height
    size = min(BATCH_CLIPS, max(1, BATCH_PIXELS // pixels))
    return [group[start : start + size] for start in range(0, len(group), size)]


def _memory_full(family: ModelFamily, batch: Sequence[GenerationRequest], context: GenerationContext) -> str:
    first = batch[0]
    asked = f"{len(batch)} clips of {first.num_frames} frames at {first.width}x{first.height}"
    needed = context.describe_memory(family, batch) if context.describe_memory else None
    return (
        f"The device's memory is full: {asked} {needed or _beside_network(family)}. Lower the frames or the size, ask "
        "for fewer takes, use mode 'windows', or free the device."
    )


def _beside_network(family: ModelFamily) -> str:
    gib = sum(tensor.nbytes for tensor in family.network.parameters()) / 2**30
    return f"do not fit beside the network's {gib:.1f} GiB"
