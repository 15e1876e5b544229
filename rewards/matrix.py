"""The reward matrix: every known damage against every reward, on the reference clips, against what must happen.

A row is a perturbation, a column a reward, a gate (`gate.cut`) or the total of a mix (`total.seed`). A perturbation
*must lower* some columns and *must not move* others; the rest is free. Every clip is said to consist of two windows
that meet in its middle. A cell holds when every clip does; it leaves out clips that have less than 0.1 to lose where a
fall is expected, and, for framing, clips whose subject leaves the picture by itself. Cells that do not hold and are
understood stand in `EXPLAINED` with the measured reason. `dailies rewards matrix` fills and prints it.
"""

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from rewards import REWARDS
from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.mix import Mix, combine
from rewards.perturb import PERTURBATIONS, Perturbation
from rewards.reference import read_manifest, read_others, read_reference
from rewards.suite import RewardSuite

Scores = dict[str, float | None]
"""The value of each column for one clip."""
Kind = Literal["falls", "stays"]

FALL = 0.03  # a reward that must fall loses at least this much
STAY = 0.10  # a reward that must not move stays within this
EXACT = 1e-9
TOTAL = "total."
LEAST_TO_LOSE = 0.10
STAYING_ONLY = ("framing",)  # measured on clips whose subject keeps inside the picture
HOME = {"real": "seed", "mini": "mini"}  # the mix that computes the rewards of a domain's matrix


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one perturbation must do. `hack`: it must not raise the total of any mix either."""

    falls: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    tolerance: float = STAY
    hack: bool = False


# From what a picture or its neighbours can know; measured first in a prototype, since then on every change.
SINGLE_FRAMES = ("clip_vid", "caption_consistency", "aesthetic")
ROWS: dict[str, Row] = {
    "frozen": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy", "novelty_after_k", "gate.motion"),
        stays=(*SINGLE_FRAMES, "framing", "gate.sharpness", "gate.cut"),
        hack=True,
    ),
    "jitter": Row(
        falls=("flow_smoothness", "framing"),
        stays=("t_lpips", "identity_lock", *SINGLE_FRAMES, "loop_break", "gate.cut"),
        hack=True,
    ),
    "wobble": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy"),
        stays=("clip_vid", "loop_break"),
        hack=True,
    ),
    "flicker": Row(
        falls=("t_lpips",),
        stays=("flow_smoothness", "identity_lock", "clip_vid", "loop_break", "gate.motion", "gate.cut"),
    ),
    "noise": Row(
        falls=("t_lpips", "structure_constancy", "aesthetic"),
        stays=("loop_break", "framing", "gate.cut"),
        hack=True,
    ),
    "pure_noise": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy", "aesthetic", "novelty_after_k", "clip_vid"),
        hack=True,
    ),
    "blur": Row(
        falls=("t_lpips", "aesthetic", "gate.sharpness"),
        stays=("clip_vid", "loop_break", "framing", "gate.motion", "gate.cut"),
        hack=True,
    ),
    "repeat": Row(
        falls=("loop_break", "novelty_after_k"),
        stays=("identity_lock", *SINGLE_FRAMES, "gate.sharpness"),
        hack=True,
    ),
    "ping_pong": Row(
        falls=("loop_break", "novelty_after_k"),
        stays=("identity_lock", *SINGLE_FRAMES, "gate.sharpness", "gate.cut"),
        hack=True,
    ),
    "reverse": Row(
        stays=(
            *("t_lpips", "flow_smoothness", "structure_constancy", "identity_lock", "loop_break", "framing"),
            *SINGLE_FRAMES,
            *("gate.motion", "gate.sharpness", "gate.cut"),
        ),
    ),
    "shuffle": Row(
        falls=("t_lpips", "flow_smoothness", "structure_constancy", "seam"),
        stays=("identity_lock", *SINGLE_FRAMES, "gate.sharpness"),
        hack=True,
    ),
    "other_subject": Row(falls=("identity_lock", "seam"), stays=("loop_break", "aesthetic")),
    "cut": Row(
        falls=("seam", "t_lpips", "structure_constancy", "novelty_after_k", "gate.cut"),
        stays=("loop_break",),
        hack=True,
    ),
    "cut_elsewhere": Row(
        falls=("t_lpips", "structure_constancy", "novelty_after_k", "gate.cut"),
        stays=("seam", "loop_break"),
        hack=True,
    ),
    "wrong_prompt": Row(
        falls=("clip_vid", "caption_consistency"),
        stays=(
            *("t_lpips", "flow_smoothness", "fvd_lite", "identity_lock", "structure_constancy", "seam", "loop_break"),
            *("aesthetic", "framing", "novelty_after_k", "gate.motion", "gate.sharpness", "gate.cut"),
        ),
        tolerance=EXACT,
    ),
    "to_the_edge": Row(falls=("framing",), stays=("t_lpips", "loop_break", "gate.sharpness", "gate.cut")),
    "rolling": Row(falls=("framing",), stays=("loop_break", "gate.cut")),
    "flip": Row(
        stays=(*REWARDS, "gate.motion", "gate.sharpness", "gate.cut"),
        tolerance=0.05,
    ),
    "double_rate": Row(
        falls=("flow_smoothness",),
        stays=("identity_lock", *SINGLE_FRAMES, "loop_break", "gate.sharpness"),
    ),
}
HACKS = tuple(key for key, row in ROWS.items() if row.hack)
EXPLAINED: dict[tuple[str, str, str], str] = {}
"""(domain, perturbation, column) to the measured reason why the cell does not hold there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One column under one perturbation: the change of its value on each clip where both values exist.

    `bound` is the least fall, or the largest move allowed; `domain` names the clips.
    """

    domain: str
    row: str
    column: str
    kind: Kind
    bound: float
    changes: dict[str, float]

    @property
    def median(self) -> float:
        return float(np.median(list(self.changes.values()))) if self.changes else 0.0

    @property
    def margin(self) -> float:
        """How far the worst clip is on the right side of the bound; negative when the cell does not hold."""
        changes = np.array(list(self.changes.values()))
        if not changes.size:
            return 0.0
        return float(-changes.max() - self.bound if self.kind == "falls" else self.bound - np.abs(changes).max())

    @property
    def holds(self) -> bool:
        return self.margin >= 0

    @property
    def explained(self) -> str:
        """The reason why it may fail; empty when there is none."""
        return EXPLAINED.get((self.domain, self.row, self.column), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """The reference clips of one domain. `others` show another subject; `staying` keep theirs in the picture."""

    domain: str
    clips: dict[str, Clip]
    others: dict[str, Clip] = field(default_factory=dict)
    staying: frozenset[str] = frozenset()

    def pairs(self, change: Perturbation) -> Iterator[tuple[str, Clip, Clip]]:
        """Name, clip, and the second clip that this perturbation needs; clips without one are left out."""
        names = list(self.clips)
        following = dict(zip(names, names[1:] + names[:1], strict=True))
        for name, clip in self.clips.items():
            second = self.others.get(name) if change.second == "subject" else self.clips[following[name]]
            if second is not None:
                yield name, clip, second

    def only(self, names: Sequence[str], num_frames: int | None = None) -> "ReferenceSet":
        """Some of the clips, in this order, and of each the first `num_frames`."""
        clips, others = ({n: _head(of[n], num_frames) for n in names if n in of} for of in (self.clips, self.others))
        return replace(self, clips=clips, others=others)


def read_set(domain: str) -> ReferenceSet:
    """All reference clips of a domain. Raises RewardError when they cannot be read."""
    staying = frozenset(name for name, entry in read_manifest(domain).items() if entry.stays)
    return ReferenceSet(domain=domain, clips=read_reference(domain), others=read_others(domain), staying=staying)


def fill_all(domain: str, mixes: Sequence[Mix], rows: Collection[str] = tuple(ROWS)) -> list["Filled"]:
    """The matrix of a domain as its home mix computes it, and for all other mixes whether a hack raises their total."""
    reference = read_set(domain)
    groups: dict[tuple[str, ...], list[Mix]] = {}
    for mix in mixes:
        groups.setdefault(_how(mix), []).append(mix)
    filled = []
    for group in groups.values():
        home = any(mix.key == HOME[domain] for mix in group)
        chosen = [row for row in rows if home or row in HACKS]
        if chosen:
            filled.append(fill_matrix(reference, group, chosen, totals_only=not home))
    return filled


def fill_matrix(
    reference: ReferenceSet, mixes: Sequence[Mix], rows: Collection[str] = tuple(ROWS), *, totals_only: bool = False
) -> "Filled":
    """The cells of `rows`, measured with the back ends and the calibration of `mixes` (which must share them).

    Raises RewardError for an unknown row, and for mixes that compute differently.
    """
    _check(rows, mixes)
    suite = RewardSuite(_rewards_of(mixes, every=not totals_only))
    whole, reasons = {}, {}
    for name, clip in reference.clips.items():
        report = suite.score(_two_windows(clip), name)
        whole[name] = _scores(report.parts, report.gates, mixes)
        reasons |= {key: result.reason for key, result in report.results.items() if result.reason}
    cells: list[Cell] = []
    for key in (key for key in ROWS if key in rows):
        change, damaged = PERTURBATIONS[key], {}
        for name, clip, second in reference.pairs(change):
            report = suite.score(change.damage(_two_windows(clip), second), name)
            damaged[name] = _scores(report.parts, report.gates, mixes)
        cells += list(_cells(reference, key, whole, damaged))
        log.info("%s: %s", reference.domain, change.title)
    kept = [cell for cell in cells if not totals_only or cell.column.startswith(TOTAL)]
    absent = {key: reasons[key] for key in suite.mix.weights if all(scores[key] is None for scores in whole.values())}
    return Filled(
        domain=reference.domain,
        mixes=tuple(mix.key for mix in mixes),
        calibration=report.calibration,
        cells=tuple(kept),
        absent={} if totals_only else absent,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A measured matrix. `absent`: rewards without a value on any whole clip, and why.

    `mixes` are those whose totals were taken.
    """

    domain: str
    mixes: tuple[str, ...]
    calibration: str
    cells: tuple[Cell, ...]
    absent: dict[str, str]

    @property
    def broken(self) -> tuple[Cell, ...]:
        """The cells that neither hold nor are explained."""
        return tuple(cell for cell in self.cells if not cell.holds and not cell.explained)


def _scores(parts: Mapping[str, float | None], gates: Mapping[str, float], mixes: Sequence[Mix]) -> Scores:
    totals = {f"{TOTAL}{mix.key}": combine(parts, mix.weights, gates, mix.gates).value for mix in mixes}
    return {**parts, **{f"gate.{gate}": level for gate, level in gates.items()}, **totals}


def _cells(
    reference: ReferenceSet, key: str, whole: Mapping[str, Scores], damaged: Mapping[str, Scores]
) -> Iterator[Cell]:
    row = ROWS[key]
    known = next(iter(whole.values()))
    totals = [column for column in known if column.startswith(TOTAL)] if row.hack else []
    wanted: list[tuple[str, Kind, float, float]] = [
        *((column, "falls", FALL, LEAST_TO_LOSE) for column in row.falls if column in known),
        *((column, "stays", row.tolerance, -math.inf) for column in row.stays if column in known),
        *((column, "falls", 0.0, -math.inf) for column in totals),
    ]
    for column, kind, bound, least in wanted:
        names = [n for n in damaged if column not in STAYING_ONLY or n in reference.staying]
        pairs = {name: (whole[name][column], damaged[name][column]) for name in names}
        changes = {n: b - a for n, (a, b) in pairs.items() if a is not None and b is not None and a >= least}
        yield Cell(domain=reference.domain, row=key, column=column, kind=kind, bound=bound, changes=changes)


def _check(rows: Collection[str], mixes: Sequence[Mix]) -> None:
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise RewardError(f"The matrix has no row {unknown[0]!r}; it has {', '.join(ROWS)}.")
    if len({_how(mix) for mix in mixes}) != 1:
        raise RewardError("A matrix needs mixes that share their calibration and back ends.")


def _how(mix: Mix) -> tuple[str, ...]:
    """What decides how a mix computes a reward."""
    return (mix.calibration, *(f"{piece}={name}" for piece, name in sorted(mix.backends.items())))


def _rewards_of(mixes: Sequence[Mix], *, every: bool) -> Mix:
    """Every reward, or those of the mixes, at weight 1, computed as the mixes compute them."""
    used = [key for key in REWARDS if every or any(mix.weights.get(key, 0) > 0 for mix in mixes)]
    weights = dict.fromkeys(used, 1.0)
    first = mixes[0]
    return Mix(key="matrix", title="Matrix", weights=weights, calibration=first.calibration, backends=first.backends)


def _two_windows(clip: Clip) -> Clip:
    return replace(clip, seams=(clip.num_frames // 2,))


def _head(clip: Clip, num_frames: int | None) -> Clip:
    return replace(clip, frames=np.ascontiguousarray(clip.frames[:num_frames]))
