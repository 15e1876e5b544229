"""How much memory a training run needs on its device, before anything is loaded. Pure functions; imports no torch.

The laws were fitted to fake-tensor peaks of the real network classes in bf16 (Wan 1.3B and 14B, which predict Wan 5B to
1 %; LTX and Wan at toy size; AnimateDiff on SD 1.5); `tests/engine/hardware/test_memory.py` measures such peaks again.
Not in them: what kernels of a device do differently, hence the range of `Need`. Bytes inside, GiB at the surface.

    N tokens of a clip   d width   L blocks   r = mlp width / d   e bytes of a number   B clips in one graph
    checkpointed    B N d e (L + 27 + 3.2 r)
    kept            B N d e (L (23.5 + 1.55 r) + 12)
    forward only    B N d e (9.5 + 1.5 r)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from engine.config.schema import NetworkShape

GIB = 2**30
LOW, HIGH = 0.9, 1.25  # of the peak: where the real one was found to lie
RESERVED_GIB = 4.0  # a device's context, its libraries' workspaces and the allocator's own
USABLE = 0.9
TIGHT = 0.8  # of what is usable; above it a fragmented allocator may fail
TEXT_TOKEN = 0.2  # a token of the prompt passes cross-attention only
FLOAT32_SHARE = 0.62  # float32 keeps no second copies in another precision: fewer numbers, each twice as large
UNET_FORWARD = 0.03  # of what the backward pass of a U-Net keeps, without checkpoints
LORA_LAYERS = 8  # linear layers of a block that carry one: q, k, v and out of self- and cross-attention
GATHERED = 2  # blocks that are whole at a time where weights lie in shards: the one at work, and the next
ADAM_BYTES = 16  # float32 weight, gradient and two moments

Verdict = Literal["fits", "tight", "no"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLoad:
    """What one run puts on a device.

    `graph_clips` go through one backward pass together (pairs count twice, guided clips twice); `rollout_clips` are
    denoised together without gradients, 0 when the algorithm makes no clips. `tokens` of one clip, with `text_tokens`.
    The weights of the network that is trained may lie in `shards` on as many devices.
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
    """GiB on the device: what stays there, and what each phase adds to it; the highest phase makes the peak."""

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
        """The phase that makes the peak."""
        phases = {"update": self.update, "rollout": self.rollout, "decode": self.decode}
        return max(phases, key=lambda name: phases[name])


def estimate_memory(load: TrainingLoad) -> MemoryEstimate:
    """What a run needs at its peak."""
    return MemoryEstimate(
        weights=weights(load) / GIB,
        training=training_state(load) / GIB,
        update=update_activations(load) / GIB,
        rollout=forward_activations(load) / GIB,
        decode=decode(load) / GIB if load.rollout_clips else 0.0,
    )


def weights(load: TrainingLoad) -> float:
    """Bytes of the networks at rest: the frozen or trained one, the VAE, and the text encoder where it stays."""
    whole = load.shape.params * load.bytes_each
    at_rest = whole / load.shards if load.lora_rank else 0.0  # one that trains is in `training_state`
    gathered = GATHERED * whole / load.shape.blocks if load.shards > 1 else 0.0
    return at_rest + gathered + load.shape.vae_params * load.bytes_each + load.shape.text_params * load.bytes_each


def training_state(load: TrainingLoad) -> float:
    """Bytes of what the optimiser keeps, and of the copies of the trained weights (average, reference, old policy)."""
    trained = lora_params(load.shape, load.lora_rank) if load.lora_rank else load.shape.params
    reference = 0.0 if load.lora_rank else load.shape.params * 4
    return (trained * (ADAM_BYTES + 4 * load.copies) + reference) / load.shards


def lora_params(shape: NetworkShape, rank: int) -> float:
    """About how many weights an adapter has: `rank` rows and columns for each target."""
    return shape.blocks * LORA_LAYERS * 2 * shape.channels * rank


def update_activations(load: TrainingLoad) -> float:
    """Bytes that one backward pass keeps."""
    if load.shape.frame_gib is not None:
        per_frame = load.shape.frame_gib[0 if load.checkpointed else 1]
        return per_frame * GIB * load.num_frames * load.graph_clips * (load.width * load.height) / 512**2
    blocks, ratio = load.shape.blocks, load.shape.mlp_ratio
    units = blocks + 27 + 3.2 * ratio if load.checkpointed else blocks * (23.5 + 1.55 * ratio) + 12
    return load.graph_clips * _unit(load) * units * _precision(load)


def forward_activations(load: TrainingLoad) -> float:
    """Bytes of a forward pass without gradients."""
    if load.shape.frame_gib is not None:
        share = UNET_FORWARD * load.shape.frame_gib[1] * GIB
        return share * load.num_frames * load.rollout_clips * (load.width * load.height) / 512**2
    return load.rollout_clips * _unit(load) * (9.5 + 1.5 * load.shape.mlp_ratio)


def decode(load: TrainingLoad) -> float:
    """Bytes of decoding one clip, or one tile of 256 px of it; clips are decoded one by one."""
    area = min(load.width * load.height, 256**2 if load.tiled_decode else load.width * load.height)
    per_px, per_frame_px = load.shape.decode_bytes
    return area * (per_px * load.num_frames + per_frame_px) * load.bytes_each / 2


def _unit(load: TrainingLoad) -> float:
    """Bytes of one activation of one clip."""
    return load.effective_tokens * load.shape.channels * load.bytes_each


def _precision(load: TrainingLoad) -> float:
    return FLOAT32_SHARE if load.bytes_each == 4 else 1.0


# ---- Does it fit?
def usable_gib(total_gib: float) -> float:
    """What of a device's memory a run may count on."""
    return max(0.0, USABLE * total_gib - RESERVED_GIB)


def verdict(wanted: MemoryEstimate, total_gib: float) -> Verdict:
    usable = usable_gib(total_gib)
    if wanted.peak <= TIGHT * usable:
        return "fits"
    return "tight" if wanted.peak <= usable else "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting to change, and what the run would need then."""

    setting: str
    value: str
    need: MemoryEstimate
    verdict: Verdict


def advice(load: TrainingLoad, total_gib: float) -> Change | None:
    """The mildest single change that makes a run fit; else the one that helps most; None when nothing helps."""
    tried = [
        Change(setting=setting, value=value, need=after, verdict=verdict(after, total_gib))
        for setting, value, changed in _milder(load)
        if (after := estimate_memory(changed)).peak < 0.98 * estimate_memory(load).peak
    ]
    fitting = [change for change in tried if change.verdict == "fits"]
    return fitting[0] if fitting else min(tried, key=lambda change: change.need.peak, default=None)


def _milder(load: TrainingLoad) -> Iterable[tuple[str, str, TrainingLoad]]:
    """Changes of one setting, those that cost the result least first."""
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
    """The factor by which finished runs differed from their prediction: the median of actual / predicted."""
    ratios = sorted(actual / predicted for predicted, actual in predicted_gib if predicted > 0)
    return ratios[len(ratios) // 2] if ratios else default
