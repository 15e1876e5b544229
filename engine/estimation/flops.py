"""How much arithmetic an update of a run is, and from that how long it takes. Pure functions; imports no torch.

A forward pass costs 2 FLOP a weight and token, plus 4 N^2 d a block for attention. A backward pass costs that once more
for what goes into each layer, and for the weights once more where they are trained: frozen ones, as beneath an adapter,
have no gradients of their own, while attention has two sides always. Recomputed blocks cost a forward pass more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.config.schema import NetworkShape

FAR = 3.0  # times larger


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopCount:
    """Passes of the network through one clip, an update. `forward` without gradients, `trained` with."""

    forward: float
    trained: float
    checkpointed: bool = False
    frozen: bool = False

    def flop(self, shape: NetworkShape, tokens: float) -> float:
        again = forward_flop(shape, tokens) if self.checkpointed else 0.0
        return self.forward * forward_flop(shape, tokens) + self.trained * (self.trained_flop(shape, tokens) + again)

    def trained_flop(self, shape: NetworkShape, tokens: float) -> float:
        """Of one clip forward and back, recomputing nothing."""
        linear = linear_flop(shape, tokens)
        return linear * (2 if self.frozen else 3) + 3 * (forward_flop(shape, tokens) - linear)


def forward_flop(shape: NetworkShape, tokens: float) -> float:
    return linear_flop(shape, tokens) + 4 * tokens**2 * shape.channels * shape.blocks


def linear_flop(shape: NetworkShape, tokens: float) -> float:
    return 2 * shape.params * tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a finished run achieved: `flop` an update, `seconds` an update."""

    flop: float
    seconds: float


def seconds_an_update(flop: float, paces: Iterable[Throughput]) -> float | None:
    """From the run whose updates are nearest in size: small ones are slowed by what is not arithmetic. None: no run."""
    known = [pace for pace in paces if pace.flop > 0 and pace.seconds > 0]
    if not known or flop <= 0:
        return None
    nearest = _nearest(flop, known)
    return flop / nearest.flop * nearest.seconds


def is_far(flop: float, paces: Iterable[Throughput]) -> bool:
    """Whether the nearest run's updates are so much smaller that what was no arithmetic in them is scaled up too."""
    known = [pace for pace in paces if pace.flop > 0]
    return bool(known) and flop > FAR * _nearest(flop, known).flop


def _nearest(flop: float, paces: Sequence[Throughput]) -> Throughput:
    return min(paces, key=lambda pace: max(pace.flop / flop, flop / pace.flop))
