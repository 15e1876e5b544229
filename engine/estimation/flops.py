"""FLOPs of a training update, and its time extrapolated from finished runs. Imports no torch.

The FLOPs of a forward pass are those of the model's `[network]` table: linear in the tokens, except attention, which is
quadratic. A backward pass costs the same for the gradients of the layer inputs, and again for the gradients of the
weights. Frozen weights, as under an adapter, need no gradients of their own; attention always needs both. Gradient
checkpointing adds another forward pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.config.schema import NetworkShape

MAX_EXTRAPOLATION = 3.0  # ratio of FLOPs


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopCount:
    """Network passes over one clip per update: `forward` without gradients, `trained` with gradients."""

    forward: float
    trained: float
    checkpointed: bool = False
    frozen: bool = False

    def flop(self, shape: NetworkShape, tokens: float) -> float:
        """Return the FLOPs of an update."""
        recomputed = forward_flop(shape, tokens) if self.checkpointed else 0.0
        trained = self.trained_flop(shape, tokens) + recomputed
        return self.forward * forward_flop(shape, tokens) + self.trained * trained

    def trained_flop(self, shape: NetworkShape, tokens: float) -> float:
        """Return the FLOPs of a forward and backward pass over one clip, without recomputation."""
        linear = linear_flop(shape, tokens)
        return linear * (2 if self.frozen else 3) + 3 * (forward_flop(shape, tokens) - linear)


def forward_flop(shape: NetworkShape, tokens: float) -> float:
    """Return the FLOPs of a forward pass over one clip."""
    return linear_flop(shape, tokens) + shape.flop[2] * tokens**2


def linear_flop(shape: NetworkShape, tokens: float) -> float:
    """Return the FLOPs of the linear layers in a forward pass over one clip."""
    constant, per_token, _ = shape.flop
    return constant + per_token * tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Measured throughput of a finished run: FLOPs and seconds per update."""

    flop: float
    seconds: float


def seconds_per_update(flop: float, measured: Iterable[Throughput]) -> float | None:
    """Extrapolate the time per update from the run with the nearest number of FLOPs; None without a run.

    The nearest run is used since small updates have a larger share of fixed overhead.
    """
    usable = [run for run in measured if run.flop > 0 and run.seconds > 0]
    if not usable or flop <= 0:
        return None
    nearest = _nearest(flop, usable)
    return flop / nearest.flop * nearest.seconds


def is_far(flop: float, measured: Iterable[Throughput]) -> bool:
    """Return whether the nearest finished run is too small to extrapolate from.

    Its fixed overhead would be scaled up.
    """
    usable = [run for run in measured if run.flop > 0]
    return bool(usable) and flop > MAX_EXTRAPOLATION * _nearest(flop, usable).flop


def _nearest(flop: float, measured: Sequence[Throughput]) -> Throughput:
    return min(measured, key=lambda run: max(run.flop / flop, flop / run.flop))
