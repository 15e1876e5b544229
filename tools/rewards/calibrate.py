"""Write `assets/calibration/calibration.json`: the measurements of bad and good clips.

    python -m tools.rewards.calibrate [--only REWARD] [--check]

Scores the reference clips, intact and damaged, with a calibration that records the raw values. For each measurement,
`bad` is a quantile (by default the median) of the clips with the damage of its rule, and `good` is a quantile of the
intact clips. The version increases when an anchor moves, but not when one is added: no earlier value depends on it.
`--only` measures the anchors of some rewards, with the same result as the full command, and keeps the others; `--check`
writes nothing and fails if the file would change.
"""

import argparse
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from rewards import load_reward
from rewards.calibration import PATH, Calibration, CalibrationFile, CalibrationSet
from rewards.clip import Clip
from rewards.errors import RewardError, RewardUnavailable
from rewards.external.declaration import Anchors
from rewards.features import ClipFeatures
from rewards.matrix.perturbations import PERTURBATIONS
from rewards.matrix.reference_clips import FOLDER, read_manifest, read_reference
from tools.rewards.seams import MAKERS

DOMAINS = ("real", "mini")
TOLERANCE = 0.02  # share of the distance between the anchors; smaller changes are rounding errors
log = logging.getLogger(__name__)

Notes = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRule:
    """Rule that derives the anchors of a measurement.

    `damage` names the damages of the bad clips. `full_marks` is the share of intact clips that map to 1, `no_marks` the
    share of damaged clips that map to 0. `staying` uses only clips that keep their subject in the picture. `backends`
    compute the measurement on the reference clips of `domains`; if they are not installed, the old anchors are kept.
    """

    damage: tuple[str, ...]
    full_marks: float = 0.1
    no_marks: float = 0.5
    higher_is_better: bool = False
    staying: bool = False
    backends: tuple[tuple[str, str], ...] = ()
    domains: tuple[str, ...] = DOMAINS


def _of_prompt(backend: tuple[str, str], domain: str, full_marks: float = 0.5) -> CalibrationRule:
    """Return the rule of a prompt reward: with the prompt of another clip, half of the clips map to 0."""
    return CalibrationRule(
        damage=("wrong_prompt",), full_marks=full_marks, higher_is_better=True, backends=(backend,), domains=(domain,)
    )


def _of_subject(backend: tuple[str, str], *domains: str) -> CalibrationRule:
    """Return the rule of a subject reward: a change of subject is bad, half of the intact map to 1."""
    return CalibrationRule(
        damage=("other_subject",), full_marks=0.5, higher_is_better=True, backends=(backend,), domains=domains
    )


GUARD = 0.9  # of a term that only detects damage: nine of ten intact clips get no penalty
WHOLE = ("whole", "whole, with a seam")
SEAMS = tuple(f"seam:{maker}" for maker in MAKERS)
CRITIC = (("seam", "critic"),)
RULES = {
    "flow_smoothness": CalibrationRule(damage=("jitter", "shuffle")),
    "flow_smoothness.roughness": CalibrationRule(damage=("wobble",), full_marks=GUARD),
    "structure_constancy": CalibrationRule(damage=("wobble", "shuffle"), higher_is_better=True),
    "seam.z": CalibrationRule(damage=SEAMS, full_marks=0.25),
    "seam.critic": CalibrationRule(damage=SEAMS, full_marks=0.25, backends=CRITIC),
    "seam.unknown.z": CalibrationRule(damage=("cut",), full_marks=0.5),
    "seam.unknown.critic": CalibrationRule(damage=("cut",), full_marks=0.5, backends=CRITIC),
    "t_lpips.alex": CalibrationRule(damage=("wobble",), no_marks=0.1, backends=(("lpips", "alex"),), domains=("real",)),
    "t_lpips.mini": CalibrationRule(damage=("wobble",), no_marks=0.1, backends=(("lpips", "mini"),)),
    "identity_lock.histogram": _of_subject(("identity", "facenet"), *DOMAINS),  # clips without a face
    "identity_lock.mini": _of_subject(("identity", "mini"), "mini"),
    "aesthetic.technical": CalibrationRule(damage=("blur", "noise"), higher_is_better=True),
    "framing": CalibrationRule(damage=("to_the_edge", "jitter"), no_marks=0.1, higher_is_better=True, staying=True),
    "novelty_after_k.histogram": CalibrationRule(
        damage=("repeat", "ping_pong"), full_marks=0.25, higher_is_better=True
    ),
    "novelty_after_k.histogram.excess": CalibrationRule(damage=("cut", "pure_noise"), full_marks=GUARD),
    "novelty_after_k.incoherence": CalibrationRule(damage=("cut", "pure_noise"), full_marks=GUARD),
    "first_frame": CalibrationRule(damage=("shuffle", "to_the_edge"), full_marks=0.25, higher_is_better=True),
    "clip_vid.mini": _of_prompt(("clip", "mini"), "mini", full_marks=0.1),
    "clip_vid.ViT-B-32": _of_prompt(("clip", "ViT-B-32"), "real"),
    "clip_vid.ViT-L-14": _of_prompt(("clip", "ViT-L-14"), "real"),
    "caption_consistency.mini": _of_prompt(("captions", "mini"), "mini", full_marks=0.1),
    "caption_consistency.blip": _of_prompt(("captions", "blip"), "real"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteTaker(Calibration):
    """Calibration that maps everything to 0.5 and records the raw values."""

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
    parser.add_argument("--only", metavar="REWARD", action="append", help="measure only the anchors of this reward")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if an anchor would move")
    options = parser.parse_args()
    found = {domain: measure(domain, options.only) for domain in DOMAINS}
    old = CalibrationFile.model_validate_json(PATH.read_bytes()) if PATH.is_file() else None
    sets = {domain: merged(old.sets.get(domain) if old else None, one) for domain, one in found.items()}
    if old and not moved(old.sets, sets):
        log.info("The anchors of version %d are unchanged.", old.version)
        return
    if options.check:
        sys.exit(
            "The anchors have moved: run `python -m tools.rewards.calibrate` and give the reason in the commit message."
        )
    version = (old.version + changes_values(old.sets, sets)) if old else 1
    new = CalibrationFile(version=version, command="python -m tools.rewards.calibrate", sets=sets)
    PATH.write_text(json.dumps(new.model_dump(), indent=1) + "\n", encoding="utf8")
    log.info("Wrote version %d.", new.version)


def measure(domain: str, only: Collection[str] | None = None, *, folder: Path = FOLDER) -> CalibrationSet:
    """Measure the anchors of all rules, or of the rewards in `only`, on the clips of one domain.

    Rules whose weights are not installed are skipped with a warning. Raises RewardError for an unknown reward in
    `only`, and if `good` is not better than `bad`.
    """
    rules = _chosen(domain, only)
    clips, manifest = read_reference(domain, folder), read_manifest(domain, folder)
    names = list(clips)
    taken: dict[tuple[str, str], Notes] = {}
    for name, following in zip(names, names[1:] + names[:1], strict=True):
        for damage, clip in variants(clips[name], clips[following], rules):
            taken[name, damage] = _take_notes(clip, damage, rules)
        log.info("%s: measured %s", domain, name)
    anchors = {}
    for key, rule in rules.items():
        used = [name for name in names if manifest[name].subject == "stays" or not rule.staying]
        whole = [value for name in used for damage in WHOLE for value in taken.get((name, damage), {}).get(key, [])]
        bad = [value for name in used for damage in rule.damage for value in taken[name, damage].get(key, [])]
        if whole and bad:
            anchors[key] = _anchors(key, rule, np.array(whole), np.array(bad))
        else:
            log.warning("%s: %s could not be measured: its weights are not installed", domain, key)
    return CalibrationSet(clips=tuple(names), anchors=anchors)


def merged(old: CalibrationSet | None, new: CalibrationSet) -> CalibrationSet:
    """Return the new anchors, and the old anchors of measurements that were not repeated."""
    return CalibrationSet(clips=new.clips, anchors={**(old.anchors if old else {}), **new.anchors})


def variants(clip: Clip, other: Clip, rules: Mapping[str, CalibrationRule]) -> Iterator[tuple[str, Clip]]:
    """Yield the intact clip, the intact clip with a declared seam, and every damage that a rule names.

    Their given first picture is frame 0 of the intact clip, compressed as much as a video autoencoder loses.
    """
    clip = replace(clip, first_picture=_compressed(clip.frames[0]))
    middle = clip.num_frames // 2
    rng = np.random.default_rng(0)
    yield WHOLE[0], clip
    yield WHOLE[1], replace(clip, seams=(middle,))
    wanted = {damage for rule in rules.values() for damage in rule.damage}
    for damage in sorted({damage for rule in RULES.values() for damage in rule.damage}):
        if damage in SEAMS:
            frames = MAKERS[damage.removeprefix("seam:")](
                clip.frames, middle, rng
            )  # drawn even if not wanted, to keep the random state
            broken = replace(clip, frames=np.ascontiguousarray(frames), seams=(middle,))
        else:
            broken = PERTURBATIONS[damage].damage(clip, other)
        if damage in wanted:
            yield damage, broken


def _compressed(picture: np.ndarray) -> np.ndarray:
    """Return a picture after JPEG of quality 50: a PSNR of 30 to 35 dB, as of the autoencoders of video models."""
    data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def moved(old: dict[str, CalibrationSet], new: dict[str, CalibrationSet]) -> bool:
    """Return True if clips or anchors were added or removed, or an anchor moved by more than `TOLERANCE`."""
    if {d: (s.clips, s.anchors.keys()) for d, s in old.items()} != {
        d: (s.clips, s.anchors.keys()) for d, s in new.items()
    }:
        return True
    pairs = [(old[d].anchors[key], anchors) for d, found in new.items() for key, anchors in found.anchors.items()]
    return any(max(abs(a.bad - b.bad), abs(a.good - b.good)) > TOLERANCE * abs(a.good - a.bad) for a, b in pairs)


def changes_values(old: dict[str, CalibrationSet], new: dict[str, CalibrationSet]) -> bool:
    """Return True if the new anchors change values of measurements that the old ones have."""
    common = {
        domain: found.model_copy(
            update={"anchors": {key: one for key, one in found.anchors.items() if key in old[domain].anchors}}
        )
        for domain, found in new.items()
        if domain in old
    }
    return moved(old, common)


def _chosen(domain: str, only: Collection[str] | None) -> dict[str, CalibrationRule]:
    for reward in only or ():
        load_reward(reward)
    in_domain = {key: rule for key, rule in RULES.items() if domain in rule.domains}
    return {key: rule for key, rule in in_domain.items() if only is None or key.split(".")[0] in only}


def _take_notes(clip: Clip, damage: str, rules: Mapping[str, CalibrationRule]) -> Notes:
    """Score the clip with the rewards that have a rule for this damage, once for each set of back ends."""
    taker = NoteTaker()
    features = ClipFeatures(clip, calibration=taker)
    wanted = {(rule.backends, key.split(".")[0]) for key, rule in rules.items() if _uses(rule, damage)}
    for backends in sorted({backends for backends, _ in wanted}):
        features = features.recast(backends=dict(backends))
        for reward in sorted(reward for others, reward in wanted if others == backends):
            try:
                load_reward(reward).score(features)
            except RewardUnavailable as error:
                log.info("%s", error)
    return taker.notes


def _uses(rule: CalibrationRule, damage: str) -> bool:
    return damage in (WHOLE[0], *rule.damage) or (damage == WHOLE[1] and bool({*rule.damage} & {*SEAMS}))


def _anchors(key: str, rule: CalibrationRule, whole: np.ndarray, damaged: np.ndarray) -> Anchors:
    up = rule.higher_is_better
    good = float(np.quantile(whole, 1 - rule.full_marks if up else rule.full_marks))
    bad = float(np.quantile(damaged, rule.no_marks if up else 1 - rule.no_marks))
    if (good > bad) != up:
        raise RewardError(
            f"The measurement {key!r} does not separate intact clips ({good:.3g}) from damaged ones ({bad:.3g})."
        )
    return Anchors(bad=round(bad, 5), good=round(good, 5))


if __name__ == "__main__":
    main()
