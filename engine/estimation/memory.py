"""Estimate of the device memory of a training run.

Pure functions that compute in bytes and return GiB. Imports no torch.

Sizes and laws are those of the model's `[network]` table: fake-tensor peaks of the real network classes, measured by
`python -m tools.memory`. They do not include differences between the kernels of devices, hence the range of
`MemoryEstimate`. Networks of rewards are not included.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.config.schema import ModelPreset, NetworkShape

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
LOW, HIGH = 0.9, 1.25  # range of the measured peak, relative to the estimate
RESERVED_GIB = 4.0  # device context, workspaces of libraries, allocator overhead
USABLE = 0.9
TIGHT = 0.8  # of the usable memory; above it a fragmented allocator may fail
GATHERED_BLOCKS = 2  # unsharded at a time: the current block and the next
ADAM_BYTES = 16  # per trained weight: float32 weight, gradient and two moments

Verdict = Literal["fits", "tight", "too_large"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLoad:
    """Size of a run on one device.

    `graph_clips` share one backward pass (pairs count twice, guided clips twice). `rollout_clips` are denoised together
    without gradients, also as samples and for alarms, 0 when the run generates no clips; they are those of
    `rollout_batch`, or with 0 of a training batch. `copies` counts the copies of the trained weights. The
    weights of the trained network may be split into `shards`, one per device. `text_waits` off the device when no
    prompt is encoded. The other options are those of a model preset.
    """

    shape: NetworkShape
    num_frames: int
    width: int
    height: int
    graph_clips: int
    rollout_clips: int = 0
    rollout_batch: int = 0
    lora_rank: int = 16
    checkpointed: bool = False
    copies: int = 0
    bytes_each: int = 2
    tiled_decode: bool = False
    text_waits: bool = False
    eight_bits: bool = False
    offloaded: bool = False
    shards: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of one clip."""
        return tokens_of(self.shape, self.num_frames, self.width, self.height)

    @property
    def scale(self) -> float:
        """Size of a number, relative to the type that the shape's sizes are of."""
        return self.bytes_each / BYTES[self.shape.dtype]


def options_of(model: ModelPreset) -> dict[str, object]:
    """Return the fields of `TrainingLoad` that a model preset sets. Its `network` must not be None."""
    return {
        "shape": model.network,
        "bytes_each": BYTES[model.dtype],
        "tiled_decode": model.tile_vae,
        "text_waits": model.offload_text,
        "eight_bits": model.weights != "full",
        "offloaded": model.offload_blocks,
    }


def tokens_of(shape: NetworkShape, num_frames: int, width: int, height: int) -> int:
    """Return the number of tokens of a clip."""
    frames, pixels = shape.token
    return max(1, -(-num_frames // frames) * (width // pixels) * (height // pixels))


def activations(law: Sequence[float], tokens: int) -> float:
    """Return the bytes of a law of `NetworkShape` for one clip: linear, or with a term of tokens squared."""
    per_token, constant, *per_square = law
    return per_token * tokens + constant + sum(per_square) * tokens**2


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Memory in GiB on the device: resident parts, and the addition of each phase.

    The largest phase sets the peak. `text` is the addition while prompts are encoded.
    """

    weights: float
    training: float
    update: float
    rollout: float
    decode: float
    text: float = 0.0

    @property
    def peak(self) -> float:
        return self.weights + self.training + max(self.update, self.rollout, self.decode, self.text)

    @property
    def low(self) -> float:
        return LOW * self.peak

    @property
    def high(self) -> float:
        return HIGH * self.peak

    @property
    def busiest(self) -> str:
        """The phase that sets the peak."""
        phases = {"update": self.update, "rollout": self.rollout, "decode": self.decode, "text": self.text}
        return max(phases, key=lambda name: phases[name])


def estimate_memory(load: TrainingLoad) -> MemoryEstimate:
    """Estimate the memory of a run."""
    return MemoryEstimate(
        weights=weights(load) / GIB,
        training=training_state(load) / GIB,
        update=update_activations(load) / GIB,
        rollout=forward_activations(load) / GIB,
        decode=decode(load) / GIB if load.rollout_clips else 0.0,
        text=text_encoding(load) / GIB,
    )


def weights(load: TrainingLoad) -> float:
    """Return the bytes of the frozen network, the VAE, and the text encoders if they stay on the device."""
    frozen = network_weights(load) if load.lora_rank else 0.0  # a trained network is part of `training_state`
    gathered = GATHERED_BLOCKS * load.shape.block_params * load.bytes_each if load.shards > 1 else 0.0
    return frozen + gathered + vae_weights(load) + other_weights(load)


def other_weights(load: TrainingLoad) -> float:
    """Return the bytes of further parts, and of the text encoders if they stay on the device."""
    resident = 0.0 if load.text_waits else load.shape.text_gib
    return (load.shape.other_gib + resident) * GIB * load.scale


def network_weights(load: TrainingLoad) -> float:
    """Return the bytes of the denoising network on one device."""
    if load.offloaded:
        return load.shape.offloaded_gib * GIB * load.scale
    upcast = load.shape.block_params * load.bytes_each if load.eight_bits else 0.0
    whole = load.shape.float8_gib * GIB + upcast if load.eight_bits else load.shape.network_gib * GIB * load.scale
    return whole / load.shards


def vae_weights(load: TrainingLoad) -> float:
    """Return the bytes of the VAE."""
    return load.shape.vae_gib * GIB * _vae_scale(load)


def text_encoding(load: TrainingLoad) -> float:
    """Return the bytes that encoding a prompt adds, with text encoders that wait off the device."""
    waiting = load.shape.text_gib * GIB if load.text_waits else 0.0
    return (waiting + load.shape.text_bytes) * load.scale


def training_state(load: TrainingLoad) -> float:
    """Return the bytes of optimizer state and weight copies (average, reference, old policy)."""
    trained = load.shape.lora_params * load.lora_rank if load.lora_rank else load.shape.params
    reference = 0.0 if load.lora_rank else load.shape.params * 4
    return (trained * (ADAM_BYTES + 4 * load.copies) + reference) / load.shards


def update_activations(load: TrainingLoad) -> float:
    """Return the bytes of activations that one backward pass keeps."""
    factor = (1.0 if load.checkpointed else load.shape.kept_factor) * (
        1.0 if load.lora_rank else load.shape.whole_factor
    )
    return factor * _of_clips(load.shape.update_bytes, load.graph_clips, load)


def forward_activations(load: TrainingLoad) -> float:
    """Return the bytes of activations of a forward pass without gradients."""
    return _of_clips(load.shape.forward_bytes, load.rollout_clips, load)


def decode(load: TrainingLoad) -> float:
    """Return the bytes of decoding one clip, whole or in tiles; clips are decoded one by one."""
    area = load.width * load.height
    per_pixel, per_frame, constant = load.shape.decode_bytes
    whole = area * (per_pixel * load.num_frames + per_frame) + constant
    per_pixel, per_frame, constant = load.shape.tiled_bytes
    tiled = load.num_frames * (per_pixel * area + per_frame) + constant
    return (min(tiled, whole) if load.tiled_decode else whole) * _vae_scale(load)


def _of_clips(law: Sequence[float], clips: int, load: TrainingLoad) -> float:
    return clips * activations(law, load.tokens) * load.scale


def _vae_scale(load: TrainingLoad) -> float:
    return 1.0 if load.shape.vae_float32 else load.scale


# ---- Comparison with the device
def usable_gib(total_gib: float) -> float:
    """Return the part of a device's memory that a run can use."""
    return max(0.0, USABLE * total_gib - RESERVED_GIB)


def verdict(estimate: MemoryEstimate, total_gib: float) -> Verdict:
    """Return whether a run fits on a device with `total_gib` of memory."""
    usable = usable_gib(total_gib)
    if estimate.peak <= TIGHT * usable:
        return "fits"
    return "tight" if estimate.peak <= usable else "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of one setting, and the memory estimate with it."""

    setting: str
    value: str
    memory: MemoryEstimate
    verdict: Verdict


def advice(load: TrainingLoad, total_gib: float) -> Change | None:
    """Return the mildest single change that makes a run fit, else the one that saves most.

    None if none helps.
    """
    changes = [
        Change(setting=setting, value=value, memory=after, verdict=verdict(after, total_gib))
        for setting, value, changed in _milder(load)
        if (after := estimate_memory(changed)).peak < 0.98 * estimate_memory(load).peak
    ]
    fitting = [change for change in changes if change.verdict == "fits"]
    return fitting[0] if fitting else min(changes, key=lambda change: change.memory.peak, default=None)


def _milder(load: TrainingLoad) -> Iterable[tuple[str, str, TrainingLoad]]:
    """Yield changes of one setting, those with the least effect on the result first."""
    if not load.checkpointed:
        yield "gradient_checkpointing", "true", replace(load, checkpointed=True)
    if load.rollout_batch > 1:
        yield "rollout_batch", "1", replace(load, rollout_clips=load.rollout_clips // load.rollout_batch)
    for share in (2, 4, 8):
        if load.graph_clips % share == 0:
            together = load.rollout_clips if load.rollout_batch else -(-load.rollout_clips // share)
            smaller = replace(load, graph_clips=load.graph_clips // share, rollout_clips=together)
            yield "per_device_train_batch_size", f"1/{share} of it, gradient_accumulation_steps x {share}", smaller
    if not load.lora_rank:
        yield "lora_rank", "16", replace(load, lora_rank=16)
    yield "num_frames", "about half", replace(load, num_frames=round(load.num_frames / 2))


def calibration_factor(predicted_gib: Iterable[tuple[float, float]], default: float = 1.0) -> float:
    """Return the median of actual / predicted memory of finished runs."""
    ratios = sorted(actual / predicted for predicted, actual in predicted_gib if predicted > 0)
    return ratios[len(ratios) // 2] if ratios else default
