"""The reward matrix: the measured effect of known damage on every reward, and the required one.

A row is a perturbation, a column a reward, a gate (`gate.cut`) or the total of a mix (`total.seed`). A perturbation
*must lower* some columns and *must not change* others; the rest is free. Every clip is scored as two windows that meet
in its middle. A cell holds when it holds on every clip. These clips are left out: where a fall is required, clips with
a value below 0.1; where no change is allowed, clips whose subject leaves the picture (they end on an empty picture);
and, for framing, all clips without one subject that stays. `EXPLAINED` has the measured reasons for cells that do not
hold. `dailies rewards matrix` fills the matrix and prints it.
"""

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np

from rewards import REWARDS
from rewards.calibration import read_calibration, report_calibration
from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.matrix.perturbations import PERTURBATIONS, Perturbation
from rewards.matrix.reasons import EXPLAINED, MEASURED_RISES, ROUNDING
from rewards.matrix.reference_clips import read_manifest, read_others, read_reference
from rewards.matrix.rows import ALL_ROWS, HACKS, Row
from rewards.mix import Mix, RewardReport, combine
from rewards.suite import RewardSuite

Scores = dict[str, float | None]
"""The value of each column for one clip."""
Kind = Literal["falls", "stays"]

FALL = 0.03  # a reward that must fall loses at least this much
TOTAL = "total."
GATES = ("gate.motion", "gate.liveness", "gate.sharpness", "gate.cut", "gate.loop")
LEAST_TO_LOSE = 0.10
STAYING_ONLY = ("framing",)  # measured on clips whose subject stays in the picture
FOLDER = "clips"  # the domain of the clips of a folder
HOME = {"real": "seed", "mini": "mini", FOLDER: "seed"}  # the mix that computes the rewards of a domain's matrix
FOLDER_PX = 192  # short side of clips of a folder: the least at which rewards see a clip


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One column under one perturbation: the change of its value on each clip where both values exist.

    `bound` is the smallest fall required, or the largest change allowed; `domain` names the clips.
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
        """Return the distance of the worst clip from the bound; negative when the cell does not hold."""
        changes = np.array(list(self.changes.values()))
        if not changes.size:
            return 0.0
        return float(-changes.max() - self.bound if self.kind == "falls" else self.bound - np.abs(changes).max())

    @property
    def holds(self) -> bool:
        return self.margin >= 0

    @property
    def worst(self) -> str:
        """Return the name of the clip with the largest change in the wrong direction."""
        wrong = {name: change if self.kind == "falls" else abs(change) for name, change in self.changes.items()}
        return max(wrong, key=lambda name: wrong[name])

    @property
    def explained(self) -> str:
        """Return the known reason for a cell that does not hold; empty when there is none.

        A reason for clips of a folder counts only where it names the worst one, since another folder has other clips,
        and only up to the rise that was measured there.
        """
        reason = EXPLAINED.get((self.domain, self.row, self.column), "")
        if self.domain != FOLDER:
            return reason
        is_known = max(self.changes.values()) <= MEASURED_RISES.get((self.row, self.column), 0.0) + ROUNDING
        return reason if is_known and f"`{self.worst}`" in reason else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """The reference clips of one domain.

    `others` show another subject; `subjects` is the behaviour of each clip's own, see `ReferenceEntry`.
    """

    domain: str
    clips: dict[str, Clip]
    others: dict[str, Clip] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def pairs(self, change: Perturbation) -> Iterator[tuple[str, Clip, Clip]]:
        """Yield name, clip, and the second clip of this perturbation.

        Clips without one are left out, and for a changed prompt clips without a prompt.
        """
        names = list(self.clips)
        following = dict(zip(names, names[1:] + names[:1], strict=True))
        for name, clip in self.clips.items():
            second = self.others.get(name) if change.second == "subject" else self.clips[following[name]]
            if second is not None and (clip.prompt or not change.prompt):
                yield name, clip, second

    def tells(self, name: str, column: str, kind: Kind) -> bool:
        """Return True when this clip counts for a column that must fall or stay."""
        subject = self.subjects[name]
        return subject == "stays" if column in STAYING_ONLY else subject != "leaves" or kind == "falls"

    def only(self, names: Sequence[str], num_frames: int | None = None) -> "ReferenceSet":
        """Return some of the clips, in this order, and of each the first `num_frames`."""
        clips, others = ({n: _head(of[n], num_frames) for n in names if n in of} for of in (self.clips, self.others))
        return replace(self, clips=clips, others=others)


def read_set(domain: str) -> ReferenceSet:
    """Read all reference clips of a domain. Raises RewardError when they cannot be read."""
    subjects: dict[str, str] = {name: entry.subject for name, entry in read_manifest(domain).items()}
    return ReferenceSet(domain=domain, clips=read_reference(domain), others=read_others(domain), subjects=subjects)


def set_of_clips(clips: Mapping[str, Clip], num_frames: int) -> ReferenceSet:
    """Make a set of the domain `FOLDER` of any clips: `num_frames` of each, the short side at most 192 px.

    Their subjects are unknown, so framing is not measured. Raises RewardError for fewer than two clips, and for
    one shorter than `num_frames`.
    """
    if len(clips) < 2:
        raise RewardError(f"The matrix needs two clips or more, to cut from one to another, but got {len(clips)}.")
    short = [f"{name} has {clip.num_frames}" for name, clip in clips.items() if clip.num_frames < num_frames]
    if short:
        raise RewardError(f"The matrix takes {num_frames} frames of each clip, but {short[0]}: ask for fewer frames.")
    reduced = {name: _reduced(_head(clip, num_frames)) for name, clip in clips.items()}
    return ReferenceSet(domain=FOLDER, clips=reduced, subjects=dict.fromkeys(clips, "many"))


def fill_matrix(
    reference: ReferenceSet, mixes: Sequence[Mix], rows: Collection[str] = tuple(ALL_ROWS)
) -> list["Filled"]:
    """Measure the matrix of a domain with its home mix, then the totals of other mixes under hacks.

    Mixes with the same calibration and back ends are measured together. Raises RewardError for an unknown row.
    """
    unknown = [row for row in rows if row not in ALL_ROWS]
    if unknown:
        raise RewardError(f"The matrix has no row {unknown[0]!r}; it has {', '.join(ALL_ROWS)}.")
    groups: dict[tuple[str, ...], list[Mix]] = {}
    for mix in mixes:
        groups.setdefault(_how(mix), []).append(mix)
    sides = [_Side(reference, group) for group in groups.values()]
    for name, clip in reference.clips.items():
        _score(sides, name, _two_windows(clip), into=None)
    for key in (key for key in ALL_ROWS if key in rows):
        change = PERTURBATIONS[key]
        for name, clip, second in reference.pairs(change):
            _score(sides, name, change.damage(_two_windows(clip), second), into=key)
        log.info("%s: %s", reference.domain, change.title)
    shown = sorted(sides, key=lambda side: not side.home)
    return [side.filled(rows) for side in shown if side.home or set(rows) & set(HACKS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A measured matrix; `absent` are the rewards without a value on any original clip, with the reasons.

    `mixes` are those with a measured total.
    """

    domain: str
    mixes: tuple[str, ...]
    calibration: str
    cells: tuple[Cell, ...]
    absent: dict[str, str]

    @property
    def totals(self) -> tuple[Cell, ...]:
        """The cells of the mixes' totals."""
        return tuple(cell for cell in self.cells if cell.column.startswith(TOTAL))

    @property
    def broken(self) -> tuple[Cell, ...]:
        """The cells that neither hold nor are explained."""
        return tuple(cell for cell in self.cells if not cell.holds and not cell.explained)


class _Side:
    """The scores of mixes with the same calibration and back ends.

    Without the home mix of the domain, only totals under hacks are measured.
    """

    def __init__(self, reference: ReferenceSet, mixes: Sequence[Mix]) -> None:
        self.home = any(mix.key == HOME[reference.domain] for mix in mixes)
        self.suite = RewardSuite(_rewards_of(mixes, every=self.home))
        self._reference, self._mixes = reference, mixes
        self._calibration = report_calibration(read_calibration(mixes[0].calibration))
        self._whole: dict[str, Scores] = {}
        self._damaged: dict[str, dict[str, Scores]] = {}
        self._reasons: dict[str, str] = {}

    def keep(self, name: str, report: RewardReport, damage: str | None) -> None:
        """Store the scores of a clip, which is the original one without `damage`."""
        found = {m.key: combine(report.parts, m.weights, report.gates, m.gates, report.missing) for m in self._mixes}
        totals = {f"{TOTAL}{key}": total.value for key, total in found.items()}
        gates = {f"gate.{gate}": level for gate, level in report.gates.items()}
        scores = {**report.parts, **gates, **totals}
        if damage is None:
            self._whole[name] = scores
            self._reasons |= {key: result.reason for key, result in report.results.items() if result.reason}
        else:
            self._damaged.setdefault(damage, {})[name] = scores

    def filled(self, rows: Collection[str]) -> Filled:
        cells = [cell for key in ALL_ROWS if key in rows for cell in self._cells(key)]
        keys = self.suite.mix.weights if self.home else ()
        absent = {key: self._reasons[key] for key in keys if all(s[key] is None for s in self._whole.values())}
        return Filled(
            domain=self._reference.domain,
            mixes=tuple(mix.key for mix in self._mixes),
            calibration=self._calibration,
            cells=tuple(cells),
            absent=absent,
        )

    def _cells(self, key: str) -> Iterator[Cell]:
        damaged = self._damaged.get(key, {})
        for column, kind, bound, least in self._wanted(ALL_ROWS[key]):
            names = [name for name in damaged if self._reference.tells(name, column, kind)]
            pairs = {name: (self._whole[name][column], damaged[name][column]) for name in names}
            changes = {n: b - a for n, (a, b) in pairs.items() if a is not None and b is not None and a >= least}
            yield Cell(domain=self._reference.domain, row=key, column=column, kind=kind, bound=bound, changes=changes)

    def _wanted(self, row: Row) -> Iterator[tuple[str, Kind, float, float]]:
        """Yield column, kind, bound, and the value from which a clip counts."""
        if self.home:
            known = {*self.suite.mix.weights, *GATES}
            yield from ((column, "falls", FALL, LEAST_TO_LOSE) for column in row.falls if column in known)
            yield from ((column, "stays", row.tolerance, -math.inf) for column in row.stays if column in known)
        if row.hack:
            yield from ((f"{TOTAL}{mix.key}", "falls", 0.0, -math.inf) for mix in self._mixes)


def _score(sides: Sequence[_Side], name: str, clip: Clip, *, into: str | None) -> None:
    """Score one clip for all sides that need it; shared features are computed once."""
    features: ClipFeatures | None = None
    for side in sides:
        if side.home or into is None or into in HACKS:
            features = side.suite.features(clip, like=features)
            side.keep(name, side.suite.score_features(features, name), into)


def _how(mix: Mix) -> tuple[str, ...]:
    """Return the calibration and back ends of a mix, which determine its rewards."""
    return (mix.calibration, *(f"{piece}={name}" for piece, name in sorted(mix.backends.items())))


def _rewards_of(mixes: Sequence[Mix], *, every: bool) -> Mix:
    """Return a mix of every reward, or those of the mixes, at weight 1, with their back ends."""
    used = [key for key in REWARDS if every or any(mix.weights.get(key, 0) > 0 for mix in mixes)]
    first = mixes[0]
    return Mix(
        key="matrix",
        title="Matrix",
        weights=dict.fromkeys(used, 1.0),
        calibration=first.calibration,
        backends=first.backends,
    )


def _two_windows(clip: Clip) -> Clip:
    return replace(clip, seams=(clip.num_frames // 2,))


def _head(clip: Clip, num_frames: int | None) -> Clip:
    return replace(clip, frames=np.ascontiguousarray(clip.frames[:num_frames]))


def _reduced(clip: Clip) -> Clip:
    scale = FOLDER_PX / min(clip.height, clip.width)
    if scale >= 1:
        return clip
    size = (round(clip.width * scale), round(clip.height * scale))
    return replace(clip, frames=np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in clip.frames]))
