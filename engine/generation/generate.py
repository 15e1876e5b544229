"""From requests to clips: encode, denoise, decode, telling how far it is. Drains `sampling.sampler.denoise`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from engine.errors import ConfigError, FamilyError
from engine.families.adapters import is_active
from engine.families.base import ModelFamily
from engine.generation.request import GenerationRequest
from engine.sampling.sampler import denoise
from engine.sampling.schedule import sigmas_for
from engine.seeds import generator_for
from rewards.clip import Clip

if TYPE_CHECKING:
    from torch import Tensor

BATCH_PIXELS = 4_000_000  # T*H*W of the clips that go through the network together; a larger clip goes alone
BATCH_CLIPS = 16  # and at most so many clips


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`step` of `of` steps of a `phase` ("encode", "denoise", "decode") are done, over all requests."""

    phase: str
    step: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A request and its finished clip."""

    request: GenerationRequest
    clip: Clip


Events = Iterator[Progress | Generated]


def generate(family: ModelFamily, requests: Sequence[GenerationRequest]) -> Events:
    """Make a clip for each request on a loaded model, yielding `Progress` as it goes and `Generated` for each clip.

    Requests alike in shape and settings go through the network together, so clips may come in another order than asked.
    Stop iterating to cancel: nothing runs between two events. Raises ConfigError for a mode that this version lacks or
    an adapter that is not active, FamilyError for what the model cannot do, or when the device is full.
    """
    for request in requests:
        _check(family, request)
    batches = _batches(requests)
    total, done = sum(batch[0].num_steps for batch in batches), 0
    for batch in batches:
        try:
            yield from MODES[batch[0].mode](family, batch, done, total)
        except torch.OutOfMemoryError as error:
            first = batch[0]
            raise FamilyError(
                f"The device's memory is full: {len(batch)} clips of {first.num_frames} frames at {first.width}x"
                f"{first.height} do not fit. Lower the frames or the size, ask for fewer takes, or free the device."
            ) from error
        done += batch[0].num_steps


@torch.no_grad()
def generate_direct(family: ModelFamily, batch: Sequence[GenerationRequest], done: int, total: int) -> Events:
    """Text to clip in one piece, for requests alike in shape and settings."""
    first = batch[0]
    yield Progress(phase="encode", step=done, of=total)
    conditioning = replace(family.encode([request.prompt for request in batch]), fps=first.fps)
    negative = family.encode([request.negative_prompt for request in batch]) if first.guidance > 1 else None
    latents = family.init_latents(first, [generator_for(request.seed) for request in batch])
    sigmas = sigmas_for(family.scheduler_config, first.num_steps, latents.shape[2:].numel())
    steps = denoise(family, latents, sigmas, conditioning, negative=negative, guidance=first.guidance)
    for step in steps:
        latents = step.next_latents
        yield Progress(phase="denoise", step=done + step.index + 1, of=total)
    yield Progress(phase="decode", step=done + first.num_steps, of=total)
    _refuse_nan(latents)
    for request, row in zip(batch, latents.split(1), strict=True):
        clip = Clip(frames=family.decode(row)[0], fps=request.fps, prompt=request.prompt)
        yield Generated(request=request, clip=clip)


MODES: dict[str, Callable[[ModelFamily, Sequence[GenerationRequest], int, int], Events]] = {
    "direct": generate_direct,
}


def _check(family: ModelFamily, request: GenerationRequest) -> None:
    if request.mode not in MODES:
        raise ConfigError(f"Mode '{request.mode}' is not in this version of Dailies: use {', '.join(MODES)}.")
    if not family.spec.allows_frames(request.num_frames):
        nearest = family.spec.nearest_frames(request.num_frames)
        raise FamilyError(f"{family.spec.title} cannot make {request.num_frames} frames: the nearest is {nearest}.")
    if not is_active(family.network, request.adapter):
        wanted = f"adapter '{request.adapter}'" if request.adapter else "no adapter"
        raise ConfigError(f"The request is for {wanted}, but the model is loaded otherwise: use_adapter switches it.")


def _batches(requests: Sequence[GenerationRequest]) -> list[list[GenerationRequest]]:
    """Requests that may share a forward pass, together; each batch small enough for the network."""
    groups: dict[tuple[object, ...], list[GenerationRequest]] = {}
    for request in requests:
        alike = (request.num_frames, request.width, request.height, request.fps, request.num_steps, request.guidance)
        groups.setdefault((request.mode, *alike), []).append(request)
    return [batch for group in groups.values() for batch in _cut(group)]


def _cut(group: list[GenerationRequest]) -> list[list[GenerationRequest]]:
    first = group[0]
    pixels = first.num_frames * first.width * first.height
    size = min(BATCH_CLIPS, max(1, BATCH_PIXELS // pixels))
    return [group[start : start + size] for start in range(0, len(group), size)]


def _refuse_nan(latents: "Tensor") -> None:
    if not latents.isfinite().all():
        raise FamilyError(
            "The network's output became NaN or infinite, so there is no clip: lower the guidance, or use a preset "
            "with dtype = 'float32' or 'bfloat16'."
        )
