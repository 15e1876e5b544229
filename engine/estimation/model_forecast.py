"""Forecast of a model's memory and time, and of the options that a card needs.

`forecast_model` is the entry point for pages and commands. Imports no torch.

Times are FLOPs over the part of a card's peak that was reached on an H100 with the shape of Wan 2.1 1.3B
(`docs/results.md`): 32 % in passes, 23 % in updates without recomputed passes, 8 % in decoding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.schema import ModelPreset
from engine.estimation.clip_estimate import ClipEstimate, clip_load, estimate_clip, rows_per_clip
from engine.estimation.flops import FlopCount, forward_flop
from engine.estimation.memory import (
    MemoryEstimate,
    TrainingLoad,
    estimate_memory,
    options_of,
    usable_gib,
)
from engine.generation.validation import why_untrainable
from engine.request import GenerationRequest

PASS_SHARE, UPDATE_SHARE, DECODE_SHARE = 0.32, 0.23, 0.084  # of a card's peak
RANK = 16
WORTH = 0.99  # an option that saves less is left out

GENERATION_OPTIONS: tuple[Mapping[str, Any], ...] = (
    {"offload_text": True},
    {"tile_vae": True},
    {"weights": "float8"},
    {"weights": "full", "offload_blocks": True},
)
TRAINING_OPTIONS: tuple[Mapping[str, Any], ...] = GENERATION_OPTIONS[:3]
"""Changes of a preset in the order of their cost; each is made in addition to those before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A kind of device: its memory, and its peak for dense bfloat16 products by its maker's data sheet."""

    name: str
    memory_gib: float
    tflops: float


CARDS = (
    Card(name="RTX 4090", memory_gib=24, tflops=165),
    Card(name="L40S", memory_gib=48, tflops=362),
    Card(name="H100", memory_gib=80, tflops=989),
    Card(name="MI300X", memory_gib=192, tflops=1307),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelForecast:
    """Forecast for one default clip at a time.

    `training` is of an adapter of rank 16 that is trained with `gradient_checkpointing` on one clip in a graph, with
    guidance if the model has it; None for a model that cannot be trained. `clip_flop` and `decode_flop` are of a whole
    clip, `update_flop` of a prediction with its backward pass.
    """

    clip: ClipEstimate
    training: MemoryEstimate | None
    clip_flop: float
    decode_flop: float
    update_flop: float

    def clip_seconds(self, card: Card) -> float:
        """Return the time to generate a clip."""
        return (self.clip_flop / PASS_SHARE + self.decode_flop / DECODE_SHARE) / (card.tflops * 1e12)

    def update_seconds(self, card: Card) -> float:
        """Return the time of a prediction with its backward pass: one step of one clip."""
        return self.update_flop / UPDATE_SHARE / (card.tflops * 1e12)


def forecast_model(model: ModelPreset, *, num_frames: int | None = None) -> ModelForecast | None:
    """Return the forecast of a model, optionally for clips of another length; None if its size is unknown."""
    if model.network is None:
        return None
    fields = model.defaults() | ({"num_frames": num_frames} if num_frames else {})
    request = GenerationRequest(prompt=model.title, **fields)
    clip = estimate_clip(model, request, 1, num_frames=request.num_frames)
    assert clip is not None
    load, rows = clip_load(model, request, 1, num_frames=request.num_frames), rows_per_clip(model, model.guidance)
    pixels = request.num_frames * request.width * request.height
    passes = FlopCount(forward=0, trained=rows, frozen=True)
    return ModelForecast(
        clip=clip,
        training=None if why_untrainable(model) else estimate_memory(training_load(model, request.num_frames)),
        clip_flop=rows * model.num_steps * forward_flop(model.network, load.tokens),
        decode_flop=model.network.decode_flop * pixels,
        update_flop=passes.flop(model.network, load.tokens),
    )


def training_load(model: ModelPreset, num_frames: int) -> TrainingLoad:
    """Return the size of the training that `ModelForecast` describes, for a model with `network`."""
    rows = rows_per_clip(model, model.guidance)
    return TrainingLoad(
        **options_of(model),  # type: ignore[arg-type]  # fields of their types
        num_frames=num_frames,
        width=model.width,
        height=model.height,
        graph_clips=rows,
        rollout_clips=rows,
        lora_rank=RANK,
        checkpointed=True,
    )


def memory_summary(model: ModelPreset) -> str:
    """Return the memory of a default clip in a few words: weights on the device, and peak.

    Return "unknown" without sizes.
    """
    found = forecast_model(model)
    return f"{_size(found.clip.weights)} / {_size(found.clip.peak)}" if found else "unknown"


def _size(gib: float) -> str:
    return f"{gib * 1024:.0f} MiB" if gib < 0.1 else f"{gib:.1f} GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The options that a preset needs on a card, and its peak in GiB with them."""

    options: tuple[str, ...]
    peak: float
    fits: bool


def fit_generation(model: ModelPreset, total_gib: float) -> Fit | None:
    """Return what a default clip needs on a card with `total_gib`; None if the model's size is unknown."""
    return _fit(model, total_gib, GENERATION_OPTIONS, training=False)


def fit_training(model: ModelPreset, total_gib: float) -> Fit | None:
    """Return what the training of `ModelForecast` needs on a card; None if the model cannot be trained."""
    return _fit(model, total_gib, TRAINING_OPTIONS, training=True)


def _fit(model: ModelPreset, total_gib: float, options: tuple[Mapping[str, Any], ...], *, training: bool) -> Fit | None:
    """Add options until the model fits, leaving out those that do not lower the peak."""
    chosen, peak = model, _peak(model, training=training)
    for changes in options:
        if peak is None or peak <= usable_gib(total_gib):
            break
        changed = chosen.model_copy(update=changes)
        lower = _peak(changed, training=training)
        if lower is not None and lower < WORTH * peak:
            chosen, peak = changed, lower
    if peak is None:
        return None
    named = dict.fromkeys(name for changes in options for name in changes)
    values = {name: getattr(chosen, name) for name in named if getattr(chosen, name) != getattr(model, name)}
    added = tuple(name if value is True else f"{name} = {value}" for name, value in values.items())
    return Fit(options=added, peak=peak, fits=peak <= usable_gib(total_gib))


def _peak(model: ModelPreset, *, training: bool) -> float | None:
    found = forecast_model(model)
    memory = found and (found.training if training else found.clip)
    return memory.peak if memory else None
