"""Shared by the modes of generation: progress events, encoded prompts, and the denoising loop."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import FamilyError
from engine.families.prompt_cache import PromptCache, encode_prompts
from engine.family_interface import Conditioning, ModelFamily, Predictor
from engine.request import GenerationRequest
from engine.sampling.sampler import DenoiseStep, denoise
from rewards.clip import Clip

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`step` of `of` denoising steps of all requests are done.

    `phase`: "encode", "keyframes", "denoise", "decode". `latest` is the step that was just done, if it was one.
    """

    phase: str
    step: int
    of: int
    latest: DenoiseStep | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyframesReady(Progress):
    """The finished keyframes of a request: `pictures` `uint8[N,H,W,3]` for the frames `places`."""

    request: GenerationRequest
    places: tuple[int, ...]
    pictures: "np.ndarray"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipReady:
    """A request and its finished clip."""

    request: GenerationRequest
    clip: Clip


Events = Iterator[Progress | ClipReady]
LatentSteps = Generator[Progress, None, "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationContext:
    """Resources of generation in addition to the model.

    `prompts` is a cache of encoded prompts. `pictures` returns the picture `uint8[H,W,3]` for a SHA-256 and raises a
    DailiesError for a missing one. With `only_keyframes` the keyframe mode ends after its keyframes, so that a user can
    check them first. `describe_memory` estimates the memory that a batch needs, for the message about a full device;
    None: unknown.
    """

    prompts: PromptCache | None = None
    pictures: "Callable[[str], np.ndarray] | None" = None
    only_keyframes: bool = False
    describe_memory: "Callable[[ModelFamily, Sequence[GenerationRequest]], str | None] | None" = None


class ProgressCounter:
    """Counts the finished denoising steps; `of` is the total over all requests."""

    def __init__(self, *, of: int) -> None:
        self.of, self.done = of, 0

    def progress(self, phase: str, latest: DenoiseStep | None = None) -> Progress:
        return Progress(phase=phase, step=self.done, of=self.of, latest=latest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The encoded prompts of a batch and, if guidance uses them, its negative prompts."""

    positive: Conditioning
    negative: Conditioning | None

    def with_extras(self, **extras: "Tensor") -> "Prompts":
        """Return a copy with additional `Conditioning.extras`, the same for both; without any, itself."""
        if not extras:
            return self
        negative = self.negative and _with_extras(self.negative, extras)
        return Prompts(positive=_with_extras(self.positive, extras), negative=negative)


def _with_extras(conditioning: Conditioning, extras: "dict[str, Tensor]") -> Conditioning:
    return replace(conditioning, extras={**(conditioning.extras or {}), **extras})


def encode(
    family: ModelFamily, batch: Sequence[GenerationRequest], context: GenerationContext, guidance: float
) -> Prompts:
    """Encode a batch's prompts.

    `guidance` is the highest in use, and at 1 or less negative prompts are not encoded.
    """

    def encode_all(prompts: Sequence[str], *, negative: bool) -> Conditioning:
        encode_rows = encode_prompts if context.prompts is None else context.prompts.encode
        rows = encode_rows(family, prompts, negative=negative)
        return replace(rows, fps=batch[0].fps)

    needed = guidance > 1 and not family.spec.embedded_guidance
    return Prompts(
        positive=encode_all([request.prompt for request in batch], negative=False),
        negative=encode_all([request.negative_prompt for request in batch], negative=True) if needed else None,
    )


def denoise_to_end(
    family: Predictor,
    latents: "Tensor",
    sigmas: "Tensor",
    prompts: Prompts,
    guidance: float,
    counter: ProgressCounter,
    phase: str = "denoise",
) -> LatentSteps:
    """Denoise, yielding the progress after each step; the generator returns the final latents.

    Raises FamilyError when these are NaN or infinite.
    """
    steps = denoise(family, latents, sigmas, prompts.positive, negative=prompts.negative, guidance=guidance)
    for step in steps:
        latents = step.next_latents
        counter.done += 1
        yield counter.progress(phase, step)
    if not latents.isfinite().all():
        raise FamilyError(
            "The network's output became NaN or infinite, so there is no clip: lower the guidance, or use a preset "
            "with dtype = 'float32' or 'bfloat16'."
        )
    return latents
