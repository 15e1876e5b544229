"""The judge of `mini`: classical vision that checks a clip against its prompt, held out from training.

    read(frames)            the content of a clip (see `judge_reading`)
    judge(frames, asked)    one clip against a scene or a prompt
    evaluate(clips, asked)  the rates of many, with 95 % Wilson intervals

`python -m engine.mini.judge --clips 1000 --frames 33 --out assets/mini/judge.json` measures the judge itself on clips
that the world draws, whose truth is known, and adds the figures for that length to the file.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from engine.errors import ConfigError
from engine.labelling.stats.agreement import wilson
from engine.mini import world
from engine.mini.judge_reading import Reading, SeenSubject, read
from engine.mini.prompts import Asked, AskedSubject, asked_by, parse

__all__ = ["Judgement", "Reading", "SeenSubject", "evaluate", "judge", "measure", "read"]

log = logging.getLogger(__name__)

ATTRIBUTES = ("colour", "shape", "direction", "count", "late", "loop")
LATE_SEEN_FRAMES = 5  # after its entry a late object needs these to be seen
MAX_SEEN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Each attribute is right, wrong, or None: not requested, or not visible in a clip of this length.

    `direction` is the motion (one of `world.MOTIONS`) of every subject that is not late. `count` also fails when
    something vanishes, or enters late unasked. `grades` are the attributes in 0..1. `score` 0..1 is their mean, halved
    where nothing of the motion is right, so that a frozen clip with the right picture stays below one half; None when
    nothing was asked. `all_right`: something was asked, and nothing is wrong.
    """

    colour: bool | None
    shape: bool | None
    direction: bool | None
    count: bool | None
    late: bool | None
    loop: bool | None
    grades: dict[str, float]
    score: float | None
    all_right: bool


def judge(frames: np.ndarray, wanted: world.Scene | Asked | str) -> Judgement:
    """Judge a clip `uint8[T,H,W,3]` against a scene, or against a prompt of the world's grammar.

    Raises ConfigError when the frames have another shape or type. Words outside the grammar are not judged.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        got = f"{frames.dtype}{list(frames.shape)}"
        raise ConfigError(f"The judge reads frames uint8[T,H,W,3] with T >= 1, but got {got}: pass decoded frames.")
    asked = parse(wanted) if isinstance(wanted, str) else wanted if isinstance(wanted, Asked) else asked_by(wanted)
    return verdict_of(read(frames), asked)


def verdict_of(reading: Reading, asked: Asked) -> Judgement:
    """Compare the content of a clip with its request."""
    subjects = [s for s in asked.subjects if not s.late or reading.num_frames >= world.LATE_FRAME + LATE_SEEN_FRAMES]
    pairs = _matched(subjects, reading.subjects)
    graded = {
        "colour": _colour(pairs),
        "shape": _shape(pairs),
        "direction": _direction(asked, reading),
        "count": _count(subjects, reading) if subjects else None,
        "late": _late(pairs),
        "loop": (bool(reading.loop), reading.loop_fit) if asked.loop and reading.loop is not None else None,
    }
    grades = {name: grade for name, result in graded.items() if result is not None for grade in [result[1]]}
    right = {name: result[0] if result is not None else None for name, result in graded.items()}
    judged = [is_right for is_right in right.values() if is_right is not None]
    return Judgement(**right, grades=grades, score=_score(grades), all_right=bool(judged) and all(judged))


def score_of(frames: np.ndarray, prompt: str) -> float | None:
    """Return the score of a clip for its prompt, 0..1. The model preset `mini` names this function.

    None when the prompt has no attribute that the judge can check.
    """
    return judge(frames, prompt).score


_Result = tuple[bool, float] | None  # right?, grade; None for an attribute that was not requested
_Pairs = list[tuple[AskedSubject, SeenSubject | None]]


def _matched(asked: list[AskedSubject], seen: tuple[SeenSubject, ...]) -> _Pairs:
    """Match requested and visible subjects with the highest total agreement."""
    slots: list[SeenSubject | None] = [*seen[:MAX_SEEN], *([None] * len(asked))]
    best = max(permutations(slots, len(asked)), key=lambda order: sum(map(_agreement, asked, order)))
    return list(zip(asked, best, strict=True))


def _agreement(asked: AskedSubject, seen: SeenSubject | None) -> float:
    if seen is None:
        return 0.0
    colour = seen.colour_fit[asked.colour] if asked.colour else 0.5
    shape = seen.shape_fit[asked.shape] if asked.shape else 0.5
    return 0.05 + colour + 0.6 * shape + 0.3 * (asked.late == seen.late)


def _colour(pairs: _Pairs) -> _Result:
    requested = [(asked.colour, seen) for asked, seen in pairs if asked.colour]
    if not requested:
        return None
    right = all(seen is not None and seen.colour == colour for colour, seen in requested)
    return right, float(np.mean([seen.colour_fit[colour] if seen else 0.0 for colour, seen in requested]))


def _shape(pairs: _Pairs) -> _Result:
    requested = [(asked.shape, seen) for asked, seen in pairs if asked.shape]
    if not requested:
        return None
    right = all(seen is not None and seen.shape == shape for shape, seen in requested)
    return right, float(np.mean([seen.shape_fit[shape] if seen else 0.0 for shape, seen in requested]))


def _direction(asked: Asked, reading: Reading) -> _Result:
    if asked.motion is None:
        return None
    early = [seen for seen in reading.subjects if not seen.late]
    right = bool(early) and all(seen.motion == asked.motion for seen in early)
    return right, float(np.mean([seen.motion_fit[asked.motion] for seen in early])) if early else 0.0


def _count(asked: list[AskedSubject], reading: Reading) -> tuple[bool, float]:
    seen = reading.subjects
    in_time = any(subject.late for subject in asked) or not reading.late
    right = len(seen) == len(asked) and in_time and all(subject.steady for subject in seen)
    steadiness = float(np.mean([subject.presence for subject in seen])) if seen and not right else 1.0
    return right, max(0.0, 1 - abs(len(seen) - len(asked)) / len(asked)) * steadiness


def _late(pairs: _Pairs) -> _Result:
    late_subjects = [seen for asked, seen in pairs if asked.late]
    if not late_subjects:
        return None
    right = all(seen is not None and seen.late for seen in late_subjects)
    return right, float(np.mean([seen is not None and seen.late for seen in late_subjects]))


def _score(grades: dict[str, float]) -> float | None:
    if not grades:
        return None
    return float(np.mean(list(grades.values()))) * (1 + grades.get("direction", 1.0)) / 2


# ---------------------------------------------------------------------------------------------------------- many clips
def rate_of(results: Iterable[bool | None]) -> dict[str, float]:
    """Return `{right, of, rate, low, high}` over the results that are not None.

    `low`..`high` is Wilson's 95 % interval.
    """
    known_results = [result for result in results if result is not None]
    low, high = wilson(sum(known_results), len(known_results))
    return {
        "right": sum(known_results),
        "of": len(known_results),
        "rate": sum(known_results) / len(known_results) if known_results else 0.0,
        "low": low,
        "high": high,
    }


def evaluate(clips: Iterable[np.ndarray], wanted: Sequence[world.Scene | Asked | str]) -> dict[str, object]:
    """Judge clips `uint8[T,H,W,3]` against their scenes or prompts.

    Return `clips`, `score` (the mean of the scores that are not None) and `rates`: attribute or "all_right" -> see
    `rate_of`.
    """
    verdicts = [judge(frames, target) for frames, target in zip(clips, wanted, strict=True)]
    names = (*ATTRIBUTES, "all_right")
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return {
        "clips": len(verdicts),
        "score": float(np.mean(scores)) if scores else 0.0,
        "rates": {name: rate_of(getattr(verdict, name) for verdict in verdicts) for name in names},
    }


# ----------------------------------------------------------------------------------------------- the judge, judged
def truth_of(reading: Reading, scene: world.Scene) -> dict[str, bool | None]:
    """Return the attributes that the judge reads correctly from a rendered scene.

    `loop` includes unrequested loops.
    """
    shown = scene.shown
    colours, shapes = sorted(s.colour for s in shown), sorted((s.colour, s.shape) for s in shown)
    return {
        "colour": sorted(seen.colour for seen in reading.subjects) == colours,
        "shape": sorted((seen.colour, str(seen.shape)) for seen in reading.subjects) == shapes,
        "direction": reading.motion == scene.motion,
        "count": reading.count == len(shown),
        "late": reading.late == (scene.late is not None),
        "loop": reading.loop == scene.loop if reading.loop is not None else None,
        "background": reading.background == scene.background,
        "all_right": verdict_of(reading, asked_by(scene)).all_right,
    }


def measure(num_clips: int, num_frames: int, seed: int) -> dict[str, object]:
    """Return the judge's accuracy on `num_clips` scenes of `seed`, and its CPU time per clip in ms."""
    rng = np.random.default_rng(seed)
    results, spent_s = [], 0.0
    for _ in range(num_clips):
        scene = world.sample_scene(rng)
        frames = world.render(scene, num_frames)
        began_s = time.process_time()
        reading = read(frames)
        spent_s += time.process_time() - began_s
        results.append(truth_of(reading, scene))
    return {
        "clips": num_clips,
        "frames": num_frames,
        "seed": seed,
        "cpu_ms_per_clip": round(1000 * spent_s / max(1, num_clips), 2),
        "accuracy": {name: rate_of(result[name] for result in results) for name in results[0]} if results else {},
    }


def _add_figures(path: Path, figures: dict[str, object]) -> None:
    """Add the figures of one length to the file, which keeps those of other lengths."""
    figures_by_length = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures_by_length[f"frames_{figures['frames']}"] = figures
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures_by_length, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the judge on clips drawn by the world, whose truth is known.")
    parser.add_argument("--clips", type=int, default=1000, help="number of clips to draw")
    parser.add_argument("--frames", type=int, default=33, help="frames per clip")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes")
    parser.add_argument("--out", type=Path, help="JSON file of the figures, one entry per length")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    figures = measure(chosen.clips, chosen.frames, chosen.seed)
    log.info(json.dumps(figures, indent=2))
    if chosen.out:
        _add_figures(chosen.out, figures)


if __name__ == "__main__":
    main()
