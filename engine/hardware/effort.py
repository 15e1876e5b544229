"""How much arithmetic an update of a run is, and from that how long it takes. Pure functions; imports no torch.

A forward pass costs 2 FLOP a weight and token, plus 4 N^2 d a block for attention; a backward pass twice that, and
once more where blocks are recomputed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.config.schema import NetworkShape

FAR = 3.0  # times larger


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Passes of the network through one clip, an update. `forward` without gradients, `trained` with."""

    forward: float
    trained: float
    checkpointed: bool = False

    def flop(self, shape: NetworkShape, tokens: float) -> float:
        one = forward_flop(shape, tokens)
        return one * (self.forward + self.trained * (4 if self.checkpointed else 3))


def forward_flop(shape: NetworkShape, tokens: float) -> float:
    return 2 * shape.params * tokens + 4 * tokens**2 * shape.channels * shape.blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a finished run achieved: `flop` an update, `seconds` an update."""

    flop: float
    seconds: float


def seconds_an_update(flop: float, paces: Iterable[Pace]) -> float | None:
    """From the run whose updates are nearest in size: small ones are slowed by what is not arithmetic. None: no run."""
    known = [pace for pace in paces if pace.flop > 0 and pace.seconds > 0]
    if not known or flop <= 0:
        return None
    nearest = _nearest(flop, known)
    return flop / nearest.flop * nearest.seconds


def is_far(flop: float, paces: Iterable[Pace]) -> bool:
    """Whether the nearest run's updates are so much smaller that what was no arithmetic in them is scaled up too."""
    known = [pace for pace in paces if pace.flop > 0]
    return bool(known) and flop > FAR * _nearest(flop, known).flop


def _nearest(flop: float, paces: Sequence[Pace]) -> Pace:
    return min(paces, key=lambda pace: max(pace.flop / flop, flop / pace.flop))
