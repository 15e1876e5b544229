"""What the modes of generation share: what they report, encoded prompts, and draining `denoise` step by step."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import FamilyError
from engine.families.prompt_cache import PromptCache
from engine.model_spec import Conditioning, ModelFamily, Predictor
from engine.request import GenerationRequest
from engine.sampling.sampler import denoise
from rewards.clip import Clip

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`step` of `of` steps of a `phase` ("encode", "keyframes", "denoise", "decode") are done, over all requests."""

    phase: str
    step: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyframesReady(Progress):
    """The keyframes of a request are there: `pictures` `uint8[N,H,W,3]` for the frames `places`."""

    request: GenerationRequest
    places: tuple[int, ...]
    pictures: "np.ndarray"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipReady:
    """A request and its finished clip."""

    request: GenerationRequest
    clip: Clip


Events = Iterator[Progress | ClipReady]
Drain = Generator[Progress, None, "Tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationContext:
    """What generation may use besides the model: kept prompts, and where given keyframes' pictures are looked up.

    `pictures` turns a picture's SHA-256 into `uint8[H,W,3]`; it raises a DailiesError for one that is not there. With
    `only_keyframes` the keyframe mode ends when its keyframes are there, so that somebody may look at them first.
    `describe_memory` estimates the memory that a batch needs, for the message about a full device; None: unknown.
    """

    prompts: PromptCache | None = None
    pictures: "Callable[[str], np.ndarray] | None" = None
    only_keyframes: bool = False
    describe_memory: "Callable[[ModelFamily, Sequence[GenerationRequest]], str | None] | None" = None


class ProgressCounter:
    """Counts the denoising steps that are done, `of` all steps of all requests."""

    def __init__(self, *, of: int) -> None:
        self.of, self.done = of, 0

    def told(self, phase: str) -> Progress:
        return Progress(phase=phase, step=self.done, of=self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The encoded prompts of a batch and, where guidance may use them, of its negative prompts."""

    positive: Conditioning
    negative: Conditioning | None

    def given(self, **extras: "Tensor") -> "Prompts":
        """With further tensors told to the network, the same for both."""
        negative = self.negative and _with_extras(self.negative, extras)
        return Prompts(positive=_with_extras(self.positive, extras), negative=negative)


def _with_extras(conditioning: Conditioning, extras: "dict[str, Tensor]") -> Conditioning:
    return replace(conditioning, extras={**(conditioning.extras or {}), **extras})


def encode(
    family: ModelFamily, batch: Sequence[GenerationRequest], tools: GenerationContext, guidance: float
) -> Prompts:
    """`guidance` is the highest that will be used: at 1 or less, negative prompts are not needed."""

    def encoded(prompts: Sequence[str]) -> Conditioning:
        rows = family.encode(prompts) if tools.prompts is None else tools.prompts.encode(family, prompts)
        return replace(rows, fps=batch[0].fps)

    needed = guidance > 1 and not family.spec.embedded_guidance
    return Prompts(
        positive=encoded([request.prompt for request in batch]),
        negative=encoded([request.negative_prompt for request in batch]) if needed else None,
    )


def denoise_to_end(
    family: Predictor,
    latents: "Tensor",
    sigmas: "Tensor",
    prompts: Prompts,
    guidance: float,
    tally: ProgressCounter,
    phase: str = "denoise",
) -> Drain:
    """Denoise, telling each step; the generator's value is the final latents. Raises FamilyError when they are NaN."""
    steps = denoise(family, latents, sigmas, prompts.positive, negative=prompts.negative, guidance=guidance)
    for step in steps:
        latents = step.next_latents
        tally.done += 1
        yield tally.told(phase)
    if not latents.isfinite().all():
        raise FamilyError(
            "The network's output became NaN or infinite, so there is no clip: lower the guidance, or use a preset "
            "with dtype = 'float32' or 'bfloat16'."
        )
    return latents
