"""Map raw measurements to 0..1 by anchors that are frozen in `assets/calibration/calibration.json`.

A pair of anchors holds the measurements of a bad and of a good clip; between them the map is linear, beyond them flat.
The anchors are never taken from the clips being scored. `python -m tools.rewards.calibrate` writes the file and records
in it the clips and the command. A *set* is one domain: "real" (filmed or photo-real clips) or "mini" (the flat
shapes of the embedded model).
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from pydantic import ValidationError

from rewards.errors import RewardError
from rewards.external.declaration import Anchors
from rewards.external.registry import external_fingerprint
from rewards.models import FrozenModel
from rewards.weights.assets import ASSETS

if TYPE_CHECKING:
    from rewards.mix import Mix

REVISION = 7
"""Increased when the measurement of a reward or a gate changes and the anchors do not; part of `report_calibration`."""

PATH = ASSETS / "calibration" / "calibration.json"


class CalibrationSet(FrozenModel):
    """Anchors of one domain, by measurement (`reward` or `reward.part`), and the measured clips."""

    clips: tuple[str, ...]
    anchors: dict[str, Anchors]


class CalibrationFile(FrozenModel):
    """The whole file; `version` is increased whenever an anchor changes."""

    version: int
    command: str
    sets: dict[str, CalibrationSet]


PUBLISHED: dict[str, Anchors] = {
    # Networks whose weights are not part of Dailies: anchors from the literature, until they are measured.
    # Matched and unmatched cosines of ViT-B/32 and L/14 lie near 0.30 and 0.15 (CLIPScore, arXiv:2104.08718), the
    # scale is 100, a changed word costs 0.01 to 0.05.
    "clip_vid.ViT-B-32": Anchors(bad=-4.0, good=8.0),
    "clip_vid.ViT-L-14": Anchors(bad=-4.0, good=8.0),
    # Of STS-B's 0..5: 1 "not equivalent, on the same topic", 4 "mostly equivalent" (Cer et al. 2017, arXiv:1708.00055).
    "caption_consistency.blip": Anchors(bad=0.2, good=0.8),
    # LAION kept pictures rated 5 and more as good, those above 6.5 as its best; few photographs fall below 3.
    "aesthetic.laion": Anchors(bad=3.0, good=7.0),
    # Two faces count as one person below a squared distance of 1.242, so a cosine of 0.38 (FaceNet, arXiv:1503.03832).
    "identity_lock.facenet": Anchors(bad=0.38, good=0.75),
    # From the check of its weights: other people up to 0.30, the same one 0.76 to 0.95.
    "identity_lock.yunet": Anchors(bad=0.3, good=0.75),
    # Those of the filmed reference clips, for sets that were not measured with AlexNet.
    "t_lpips.alex": Anchors(bad=0.15, good=0.016),
}
"""Used only where the calibration file has no anchors of its own; `Calibration.is_measured` tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The anchors of one set; `name` is "set-version" and goes into every report."""

    name: str
    anchors: dict[str, Anchors]

    def is_measured(self, measurement: str) -> bool:
        """Return True when the anchors were measured on the reference clips, not taken from a publication."""
        return measurement in self.anchors

    def anchors_of(self, measurement: str) -> Anchors:
        """Return the anchors of a measurement. Raises RewardError when it has none."""
        anchors = self.anchors.get(measurement) or PUBLISHED.get(measurement)
        if anchors is None:
            raise RewardError(
                f"The calibration {self.name} has no anchors for {measurement!r}: "
                "run `python -m tools.rewards.calibrate`."
            )
        return anchors

    @overload
    def map(self, measurement: str, raw: float) -> float: ...
    @overload
    def map(self, measurement: str, raw: np.ndarray) -> np.ndarray: ...
    def map(self, measurement: str, raw: float | np.ndarray) -> float | np.ndarray:
        """Map raw values to 0..1; NaN stays NaN. Raises RewardError for a measurement without anchors."""
        anchors = self.anchors_of(measurement)
        mapped = np.clip((np.asarray(raw, np.float64) - anchors.bad) / (anchors.good - anchors.bad), 0, 1)
        return mapped if isinstance(raw, np.ndarray) else float(mapped)


@cache
def read_calibration(domain: str = "real", path: Path = PATH) -> Calibration:
    """Read one set of the calibration file.

    Raises RewardError when the file or the set is missing or malformed.
    """
    try:
        file = CalibrationFile.model_validate_json(path.read_text(encoding="utf8"))
    except (OSError, ValidationError) as error:
        raise RewardError(
            f"The calibration file {path} cannot be read: run `python -m tools.rewards.calibrate`."
        ) from error
    if domain not in file.sets:
        raise RewardError(f"There is no calibration set {domain!r}; the file has {', '.join(sorted(file.sets))}.")
    return Calibration(name=f"{domain}-{file.version}", anchors=file.sets[domain].anchors)


def report_calibration(calibration: Calibration) -> str:
    """Return the calibration as reports name it, "set-version.revision"; totals compare only within one."""
    return f"{calibration.name}.{REVISION}"


def mix_calibration(mix: "Mix") -> str:
    """Return the calibration that a report of this mix would name now; totals compare only within one.

    It is "set-version.revision", a fingerprint of each external reward, "~" with a digest of the back ends if the mix
    names any, and "#" with a digest of its weights and gates. Raises RewardError for a calibration set that does not
    exist.
    """
    counted = {key: weight for key, weight in sorted(mix.weights.items()) if weight > 0}
    declared = external_fingerprint(list(counted))
    backends = _digest(dict(sorted(mix.backends.items()))) if mix.backends else ""
    parts = (("", report_calibration(read_calibration(mix.calibration))), ("+", declared), ("~", backends))
    return "".join(f"{sign}{part}" for sign, part in parts if part) + f"#{_digest([counted, mix.gates.model_dump()])}"


def measures_alike(one: str | None, other: str) -> bool:
    """Return True if values of rewards compare between two calibrations."""
    return one is not None and one.partition("#")[0] == other.partition("#")[0]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]
