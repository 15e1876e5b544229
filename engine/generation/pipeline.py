"""Generation of clips from requests: encode, denoise, decode, with progress events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.errors import ConfigError, FamilyError
from engine.families.loading import is_memory_full
from engine.families.lora import is_active
from engine.family_interface import ModelFamily
from engine.generation import keyframes, windows
from engine.generation.clip_plan import ANY_LENGTH, check_plan
from engine.generation.context import (
    ClipReady,
    Events,
    GenerationContext,
    ProgressCounter,
    denoise_to_end,
    encode,
)
from engine.generation.given_pictures import first_picture, picture_extras
from engine.request import GenerationRequest
from engine.sampling.schedules import num_tokens, sigmas_for
from engine.seeds import generator_for
from rewards.clip import Clip

BATCH_PIXELS = 4_000_000  # limit of T*H*W of a batch; a larger clip is a batch of its own
BATCH_CLIPS = 16  # limit of clips per batch


def generate(
    family: ModelFamily, requests: Sequence[GenerationRequest], context: GenerationContext | None = None
) -> Events:
    """Generate a clip for each request on a loaded model.

    Yield `Progress` events and one `ClipReady` per clip.

    Requests with equal shape and settings form batches, so clips may come in another order than the requests. Stop
    iterating to cancel: no computation runs between two events. Raises ConfigError for an impossible plan or an adapter
    that is not active, and FamilyError for an unsupported request or when the device's memory is full.
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
            needed = context.describe_memory(family, batch) if context.describe_memory else None
            raise FamilyError(memory_full(family, batch, needed)) from error


@torch.no_grad()
def generate_direct(
    family: ModelFamily, batch: Sequence[GenerationRequest], context: GenerationContext, counter: ProgressCounter
) -> Events:
    """Generate whole clips from text and given pictures, for requests with equal shape and settings."""
    first = batch[0]
    yield counter.progress("encode")
    given = picture_extras(family, batch, context.pictures)
    prompts = encode(family, batch, context, first.guidance).with_extras(**given)
    noise = family.init_latents(first, [generator_for(request.seed) for request in batch])
    sigmas = sigmas_for(family.scheduler_config, first.num_steps, num_tokens(noise, given))
    latents = yield from denoise_to_end(family, noise, sigmas, prompts, first.guidance, counter)
    yield counter.progress("decode")
    for request, row in zip(batch, latents.split(1), strict=True):
        shown = first_picture(request, context.pictures)
        clip = Clip(frames=family.decode(row)[0], fps=request.fps, prompt=request.prompt, first_picture=shown)
        yield ClipReady(request=request, clip=clip)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A mode of generation: `make` generates a batch of similar requests, `steps` counts its steps."""

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
        raise FamilyError(f"{family.spec.title} does not support {request.num_frames} frames: use {nearest}.")
    check_plan(request, family.spec)
    if not is_active(family.network, request.scales):
        expected = f"adapter '{request.adapter_label}'" if request.adapter_label else "no adapter"
        raise ConfigError(f"The request needs {expected} on the model: call `activate_adapters` first.")


def _batches(requests: Sequence[GenerationRequest]) -> list[list[GenerationRequest]]:
    """Group requests that can share a forward pass, in batches within the limits."""
    groups: dict[tuple[object, ...], list[GenerationRequest]] = {}
    for request in requests:
        shape = (request.num_frames, request.width, request.height, request.fps, request.num_steps, request.guidance)
        given = (request.image is None, request.last_image is None)
        groups.setdefault((request.mode, request.keyframes, request.windows, *shape, *given), []).append(request)
    return [batch for group in groups.values() for batch in _cut(group)]


def clips_together(request: GenerationRequest) -> int:
    """Return how many clips of a request's size a batch has at most."""
    pixels = request.num_frames * request.width * request.height
    return min(BATCH_CLIPS, max(1, BATCH_PIXELS // pixels))


def _cut(group: list[GenerationRequest]) -> list[list[GenerationRequest]]:
    size = clips_together(group[0])
    return [group[start : start + size] for start in range(0, len(group), size)]


def memory_full(family: ModelFamily, batch: Sequence[GenerationRequest], needed: str | None = None) -> str:
    """Return the sentence for a batch that does not fit the device; `needed` says what its clips take."""
    first = batch[0]
    clips = f"{len(batch)} clips of {first.num_frames} frames at {first.width}x{first.height}"
    return (
        f"The device's memory is full: {clips} {needed or _network_size(family)}. Lower the frames or the size, "
        "request fewer variations, use mode 'windows', or free the device."
    )


def _network_size(family: ModelFamily) -> str:
    gib = sum(tensor.nbytes for tensor in family.network.parameters()) / 2**30
    return f"do not fit next to the network's {gib:.1f} GiB"
