"""Benchmarks of generation and of rewards: each part of a clip's way on one loaded model."""

from collections.abc import Iterator
from functools import partial

import torch

from engine.benchmark.report import Measurement, summary
from engine.benchmark.timing import time_calls
from engine.config.schema import ModelPreset
from engine.family_interface import ModelFamily
from engine.generation.context import ClipReady, GenerationContext, encode
from engine.generation.pipeline import generate
from engine.generation.validation import read_request
from engine.request import GenerationRequest
from engine.sampling.sampler import guided_prediction
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for
from rewards.clip import Clip
from rewards.mix import Mix
from rewards.suite import RewardSuite

PROMPT = "a red ball moving right over a meadow"


def benchmark_request(preset: ModelPreset, num_frames: int | None = None) -> GenerationRequest:
    """Return the request for one clip of the model's default shape, or with `num_frames`."""
    fields = {"prompt": PROMPT, "model": preset.key, "seed": 0}
    return read_request({**fields, **({"num_frames": num_frames} if num_frames else {})})


@torch.no_grad()
def measure_generation(
    family: ModelFamily, request: GenerationRequest, *, device: str, repeats: int
) -> Iterator[Measurement]:
    """Measure text encoding, one denoising step, decoding and a whole clip."""
    context = GenerationContext()
    shape = {
        "model": request.model,
        "num_frames": request.num_frames,
        "width": request.width,
        "height": request.height,
        "dtype": str(family.dtype).removeprefix("torch."),
    }
    prompts = encode(family, [request], context, request.guidance)
    noise = family.init_latents(request, [generator_for(request.seed)])
    sigmas = sigmas_for(family.scheduler_config, request.num_steps, noise.shape[2:].numel())
    parts = {
        "encode_text": lambda: encode(family, [request], context, request.guidance),
        "denoise_step": lambda: guided_prediction(
            family, noise, sigmas[0], prompts.positive, prompts.negative, request.guidance
        ),
        "decode": lambda: family.decode(noise),
        "clip": lambda: list(generate(family, [request], context)),
    }
    for name, run in parts.items():
        seconds = time_calls(run, device=device, repeats=repeats)
        settings = {**shape, "guidance": request.guidance, "num_steps": request.num_steps}
        yield Measurement(name=name, unit="s", settings=settings, **summary(seconds))


def make_clip(family: ModelFamily, request: GenerationRequest) -> Clip:
    """Generate the clip that the rewards are measured on."""
    return next(event.clip for event in generate(family, [request]) if isinstance(event, ClipReady))


def measure_rewards(mix: Mix, clip: Clip, *, device: str, repeats: int) -> Iterator[Measurement | tuple[str, str]]:
    """Measure each reward of the mix alone, and all of them with shared features.

    A reward that is not available, or does not apply to the clip, gives a pair of its name and the reason instead.
    """
    frames, height, width, _ = clip.frames.shape
    settings = {"mix": mix.key, "num_frames": frames, "width": width, "height": height}
    for key in (key for key, weight in mix.weights.items() if weight > 0):
        alone = RewardSuite(mix.model_copy(update={"weights": {key: 1.0}}))
        report = alone.score(clip)
        if report.parts[key] is None:
            yield f"reward/{key}", report.missing.get(key) or report.results[key].reason
            continue
        seconds = time_calls(partial(alone.score, clip), device=device, repeats=repeats, warm_up=0)
        yield Measurement(name=f"reward/{key}", unit="s", settings=settings, **summary(seconds))
    suite = RewardSuite(mix)
    seconds = time_calls(lambda: suite.score(clip), device=device, repeats=repeats)
    yield Measurement(name="reward/all", unit="s", settings=settings, **summary(seconds))
