"""Estimate of the device memory of a training run.

Pure functions that compute in bytes and return GiB. Imports no torch.

The formulas were fitted to fake-tensor peaks of the real network classes in bf16 (Wan 1.3B and 14B, which predict Wan
5B to 1 %; LTX and Wan at toy size; AnimateDiff on SD 1.5); `tests/engine/estimation/test_memory.py` measures such peaks
again. They do not include differences between the kernels of devices, hence the range of `MemoryEstimate`.

    N tokens per clip   d width   L blocks   r = mlp width / d   e bytes per number   B clips in one graph
    checkpointed    B N d e (L + 27 + 3.2 r)
    kept            B N d e (L (23.5 + 1.55 r) + 12)
    forward only    B N d e (9.5 + 1.5 r)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from engine.config.schema import NetworkShape

GIB = 2**30
LOW, HIGH = 0.9, 1.25  # range of the measured peak, relative to the estimate
RESERVED_GIB = 4.0  # device context, workspaces of libraries, allocator overhead
USABLE = 0.9
TIGHT = 0.8  # of the usable memory; above it a fragmented allocator may fail
TEXT_TOKEN = 0.2  # relative cost of a prompt token, which passes cross-attention only
FLOAT32_SHARE = 0.62  # float32 keeps no copies in another precision: fewer numbers, each twice as large
UNET_FORWARD = 0.03  # relative to the activations of a U-Net's backward pass without checkpointing
LORA_LAYERS = 8  # adapted layers per block: q, k, v and out of self- and cross-attention
GATHERED_BLOCKS = 2  # unsharded at a time: the current block and the next
ADAM_BYTES = 16  # per trained weight: float32 weight, gradient and two moments

Verdict = Literal["fits", "tight", "too_large"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLoad:
    """Size of a run on one device.

    `graph_clips` share one backward pass (pairs count twice, guided clips twice). `rollout_clips` are denoised together
    without gradients, 0 when the algorithm generates no clips. `tokens` and `text_tokens` are per clip. `copies` counts
    the copies of the trained weights. The weights of the trained network may be split into `shards`, one per device.
    """

    shape: NetworkShape
    num_frames: int
    width: int
    height: int
    tokens: int
    text_tokens: int = 0
    graph_clips: int
    rollout_clips: int = 0
    lora_rank: int = 16
    checkpointed: bool = False
    copies: int = 0
    bytes_each: int = 2
    tiled_decode: bool = False
    shards: int = 1

    @property
    def effective_tokens(self) -> float:
        return self.tokens + TEXT_TOKEN * self.text_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Memory in GiB on the device: resident parts, and the addition of each phase.

    The largest phase sets the peak.
    """

    weights: float
    training: float
    update: float
    rollout: float
    decode: float

    @property
    def peak(self) -> float:
        return self.weights + self.training + max(self.update, self.rollout, self.decode)

    @property
    def low(self) -> float:
        return LOW * self.peak

    @property
    def high(self) -> float:
        return HIGH * self.peak

    @property
    def busiest(self) -> str:
        """The phase that sets the peak."""
        phases = {"update": self.update, "rollout": self.rollout, "decode": self.decode}
        return max(phases, key=lambda name: phases[name])


def estimate_memory(load: TrainingLoad) -> MemoryEstimate:
    """Estimate the memory of a run."""
    return MemoryEstimate(
        weights=weights(load) / GIB,
        training=training_state(load) / GIB,
        update=update_activations(load) / GIB,
        rollout=forward_activations(load) / GIB,
        decode=decode(load) / GIB if load.rollout_clips else 0.0,
    )


def weights(load: TrainingLoad) -> float:
    """Return the bytes of the frozen network, the VAE, and the text encoder if it stays loaded."""
    whole = load.shape.params * load.bytes_each
    frozen = whole / load.shards if load.lora_rank else 0.0  # a trained network is part of `training_state`
    gathered = GATHERED_BLOCKS * whole / load.shape.blocks if load.shards > 1 else 0.0
    return frozen + gathered + load.shape.vae_params * load.bytes_each + load.shape.text_params * load.bytes_each


def training_state(load: TrainingLoad) -> float:
    """Return the bytes of optimizer state and weight copies (average, reference, old policy)."""
    trained = lora_params(load.shape, load.lora_rank) if load.lora_rank else load.shape.params
    reference = 0.0 if load.lora_rank else load.shape.params * 4
    return (trained * (ADAM_BYTES + 4 * load.copies) + reference) / load.shards


def lora_params(shape: NetworkShape, rank: int) -> float:
    """Return the approximate number of adapter weights: `rank` rows and columns per adapted layer."""
    return shape.blocks * LORA_LAYERS * 2 * shape.channels * rank


def update_activations(load: TrainingLoad) -> float:
    """Return the bytes of activations that one backward pass keeps."""
    if load.shape.frame_gib is not None:
        per_frame = load.shape.frame_gib[0 if load.checkpointed else 1]
        return per_frame * GIB * load.num_frames * load.graph_clips * (load.width * load.height) / 512**2
    blocks, ratio = load.shape.blocks, load.shape.mlp_ratio
    units = blocks + 27 + 3.2 * ratio if load.checkpointed else blocks * (23.5 + 1.55 * ratio) + 12
    return load.graph_clips * _unit(load) * units * _precision(load)


def forward_activations(load: TrainingLoad) -> float:
    """Return the bytes of activations of a forward pass without gradients."""
    if load.shape.frame_gib is not None:
        share = UNET_FORWARD * load.shape.frame_gib[1] * GIB
        return share * load.num_frames * load.rollout_clips * (load.width * load.height) / 512**2
    return load.rollout_clips * _unit(load) * (9.5 + 1.5 * load.shape.mlp_ratio)


def decode(load: TrainingLoad) -> float:
    """Return the bytes of decoding one clip, or one 256 px tile of it; clips are decoded one by one."""
    area = min(load.width * load.height, 256**2 if load.tiled_decode else load.width * load.height)
    per_px, per_frame_px = load.shape.decode_bytes
    return area * (per_px * load.num_frames + per_frame_px) * load.bytes_each / 2


def _unit(load: TrainingLoad) -> float:
    """Return the bytes of one activation of one clip."""
    return load.effective_tokens * load.shape.channels * load.bytes_each


def _precision(load: TrainingLoad) -> float:
    return FLOAT32_SHARE if load.bytes_each == 4 else 1.0


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
        yield "checkpoint_blocks", "true", replace(load, checkpointed=True)
    if load.rollout_clips > 1:
        yield "rollout_batch", "1", replace(load, rollout_clips=max(1, load.rollout_clips // 16))
    for share in (2, 4, 8):
        if load.graph_clips % share == 0:
            smaller = replace(load, graph_clips=load.graph_clips // share)
            yield "per_device_train_batch_size", f"1/{share} of it, gradient_accumulation_steps x {share}", smaller
    if not load.lora_rank:
        yield "lora_rank", "16", replace(load, lora_rank=16)
    yield "num_frames", "about half", _scaled(load, 0.5)


def _scaled(load: TrainingLoad, share: float) -> TrainingLoad:
    return replace(load, num_frames=round(load.num_frames * share), tokens=round(load.tokens * share))


def calibration_factor(predicted_gib: Iterable[tuple[float, float]], default: float = 1.0) -> float:
    """Return the median of actual / predicted memory of finished runs."""
    ratios = sorted(actual / predicted for predicted, actual in predicted_gib if predicted > 0)
    return ratios[len(ratios) // 2] if ratios else default
