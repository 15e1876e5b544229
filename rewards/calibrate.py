"""Makes `assets/calibration/calibration.json`: what bad and good clips measure, frozen for everybody.

    python -m rewards.calibrate [--check]

Scores the reference clips, whole and damaged on purpose, with a calibration that only takes notes. For each measurement
`bad` is the median of the clips damaged in the ways that its recipe names, `good` what the best whole clips reach.
The version rises when an anchor moves. `--check` writes nothing and fails when the file would change.
"""

import argparse
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from rewards import load_reward
from rewards.calibration import PATH, Anchors, Calibration, CalibrationFile, CalibrationSet
from rewards.clip import Clip
from rewards.errors import RewardError
from rewards.features import ClipFeatures
from rewards.perturb import PERTURBATIONS
from rewards.reference import read_reference
from rewards.training.seams import MAKERS

DOMAINS = ("real", "mini")
TOLERANCE = 0.02  # of the distance between the anchors: less is the machine's rounding
log = logging.getLogger(__name__)

Notes = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a measurement gets its anchors: from which damage, and how many of the whole clips deserve full marks."""

    damage: tuple[str, ...]
    full_marks: float = 0.1


GUARD = 0.9  # a side term that only spots damage: nine of ten whole clips pay nothing
WHOLE = ("whole", "whole, with a seam")
SEAMS = tuple(f"seam:{maker}" for maker in MAKERS)
RECIPES = {
    "flow_smoothness": Recipe(damage=("jitter", "shuffle")),
    "flow_smoothness.roughness": Recipe(damage=("wobble",), full_marks=GUARD),
    "structure_constancy": Recipe(damage=("wobble", "shuffle")),
    "seam.z": Recipe(damage=SEAMS, full_marks=0.25),
    "seam.critic": Recipe(damage=SEAMS, full_marks=0.25),
    "seam.unknown.z": Recipe(damage=("cut",), full_marks=0.5),
    "seam.unknown.critic": Recipe(damage=("cut",), full_marks=0.5),
    "aesthetic.technical": Recipe(damage=("blur", "noise")),
    "framing": Recipe(damage=("to_the_edge", "jitter")),
    "novelty_after_k.histogram": Recipe(damage=("repeat", "ping_pong"), full_marks=0.25),
    "novelty_after_k.histogram.excess": Recipe(damage=("cut", "pure_noise"), full_marks=GUARD),
    "novelty_after_k.incoherence": Recipe(damage=("cut", "pure_noise"), full_marks=GUARD),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteTaker(Calibration):
    """A calibration that maps everything to one half and remembers the raw values."""

    name: str = "notes"
    anchors: dict[str, Anchors] = field(default_factory=dict)
    notes: Notes = field(default_factory=lambda: defaultdict(list))

    def map(self, measurement: str, raw: float | np.ndarray) -> float | np.ndarray:  # type: ignore[override]
        if isinstance(raw, np.ndarray):
            return np.full(raw.shape, 0.5)
        self.notes[measurement].append(raw)
        return 0.5


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when an anchor would move")
    options = parser.parse_args()
    old = CalibrationFile.model_validate_json(PATH.read_bytes()) if PATH.is_file() else None
    sets = {domain: measure(domain) for domain in DOMAINS}
    if old and not moved(old.sets, sets):
        log.info("The anchors of version %d stand.", old.version)
        return
    if options.check:
        sys.exit("The anchors have moved: run `python -m rewards.calibrate` and say why in the commit.")
    new = CalibrationFile(version=old.version + 1 if old else 1, command="python -m rewards.calibrate", sets=sets)
    PATH.write_text(json.dumps(new.model_dump(), indent=1) + "\n", encoding="utf8")
    log.info("Wrote version %d.", new.version)


def measure(domain: str) -> CalibrationSet:
    """Anchors of every recipe from the reference clips of one domain. Raises RewardError when good is not above bad."""
    clips = read_reference(domain)
    names = list(clips)
    whole: Notes = defaultdict(list)
    damaged: dict[str, Notes] = {}
    for name, following in zip(names, names[1:] + names[:1], strict=True):
        for damage, clip in variants(clips[name], clips[following]):
            notes = whole if damage in WHOLE else damaged.setdefault(damage, defaultdict(list))
            _take_notes(clip, damage, notes)
    log.info("%s: measured %d clips", domain, len(clips))
    return CalibrationSet(clips=tuple(names), anchors={key: _anchors(key, whole, damaged) for key in RECIPES})


def variants(clip: Clip, other: Clip) -> Iterator[tuple[str, Clip]]:
    """The clip whole (also with a seam said to be in its middle) and damaged in every way that a recipe names."""
    middle = clip.num_frames // 2
    rng = np.random.default_rng(0)
    yield WHOLE[0], clip
    yield WHOLE[1], _changed(clip, clip.frames, seams=(middle,))
    for damage in sorted({d for recipe in RECIPES.values() for d in recipe.damage}):
        if damage in SEAMS:
            frames = MAKERS[damage.removeprefix("seam:")](clip.frames, middle, rng)
            yield damage, _changed(clip, frames, seams=(middle,))
        else:
            change = PERTURBATIONS[damage]
            yield damage, _changed(clip, change.apply(clip.frames, other.frames), rate=change.rate)


def moved(old: dict[str, CalibrationSet], new: dict[str, CalibrationSet]) -> bool:
    """Whether an anchor came or went, or moved by more than rounding."""
    if {d: s.anchors.keys() for d, s in old.items()} != {d: s.anchors.keys() for d, s in new.items()}:
        return True
    pairs = [(old[d].anchors[key], anchors) for d, found in new.items() for key, anchors in found.anchors.items()]
    return any(max(abs(a.bad - b.bad), abs(a.good - b.good)) > TOLERANCE * abs(a.good - a.bad) for a, b in pairs)


def _changed(clip: Clip, frames: np.ndarray, *, rate: float = 1.0, seams: tuple[int, ...] = ()) -> Clip:
    return Clip(frames=np.ascontiguousarray(frames), fps=clip.fps * rate, prompt=clip.prompt, seams=seams)


def _take_notes(clip: Clip, damage: str, notes: Notes) -> None:
    """Score the clip with the rewards that have a recipe for this damage; the seams with both back ends."""
    wanted = {m.split(".")[0] for m, recipe in RECIPES.items() if damage in (WHOLE[0], *recipe.damage)}
    chosen = wanted if damage != WHOLE[1] else {"seam"}
    for backends in ({}, {"seam": "critic"}):
        features = ClipFeatures(clip, calibration=NoteTaker(notes=notes), backends=backends)
        for key in sorted(chosen & backends.keys() if backends else chosen):
            load_reward(key).score(features)


def _anchors(key: str, whole: Notes, damaged: dict[str, Notes]) -> Anchors:
    recipe = RECIPES[key]
    good = np.array(whole[key])
    bad_values = [value for damage in recipe.damage for value in damaged[damage][key]]
    if not len(good) or not bad_values:
        raise RewardError(f"The measurement {key!r} was never taken on the reference clips.")
    bad = float(np.median(bad_values))
    higher_is_better = float(np.median(good)) > bad
    share = 1 - recipe.full_marks if higher_is_better else recipe.full_marks
    best = float(np.quantile(good, share))
    if (best > bad) != higher_is_better:
        raise RewardError(f"The measurement {key!r} does not tell whole clips ({best:.3g}) from damaged ({bad:.3g}).")
    return Anchors(bad=round(bad, 5), good=round(best, 5))


if __name__ == "__main__":
    main()
