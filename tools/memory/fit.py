"""Laws of a preset's memory and FLOPs, fitted to a few shapes and checked at another.

Activations grow by the tokens and the clips of a batch, decoding by the pixels of a clip, the FLOPs of attention by the
square of the tokens. So do the activations of a network with dense masks of attention: where a straight law is off, it
gets a term of the square.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.config.schema import ModelPreset, NetworkShape
from engine.estimation.memory import activations
from engine.family_interface import FamilySpec
from tools.memory.measure import Shape, Subject, opened

DIGITS = 4
TINY = 1e-6  # left by the arithmetic of a fit
LONG = 64  # frames
STRAIGHT = 0.05  # deviation of a straight law above which it is fitted again, with the square of the tokens


def shapes_of(preset: ModelPreset, spec: FamilySpec) -> list[Shape]:
    """Return four shapes: of a default clip, of a smaller one, one to check laws with, and one for curved laws."""

    def shape(clips: int, length: float, size: float) -> Shape:
        multiple = 2 * (preset.size_multiple or spec.size_multiple)
        width, height = (
            max(multiple, round(side * size / multiple) * multiple) for side in (preset.width, preset.height)
        )
        frames = spec.nearest_frames(max(preset.min_frames, round(preset.num_frames * length)))
        return Shape(clips, frames, width, height)

    return [shape(1, 1, 1), shape(1, 0.4, 0.7), shape(2, 0.6, 0.85), shape(1, 0.7, 0.9)]


def tokens_of(token: Sequence[int], shape: Shape) -> int:
    """Return the number of tokens of one clip."""
    frames, size = token
    return -(-shape.num_frames // frames) * (shape.width // size) * (shape.height // size)


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and constant of the line through two points; a constant below zero becomes zero."""
    (x1, y1), (x2, y2) = points
    slope = (y1 - y2) / (x1 - x2)
    constant = y1 - slope * x1
    return (slope, constant) if constant >= 0 else (max(y1 / x1, y2 / x2), 0.0)


def rounded(value: Any) -> Any:
    """Return numbers with few digits, so that the table is easy to read."""
    if isinstance(value, tuple | list):
        return [rounded(item) for item in value]
    if isinstance(value, bool | str | int):
        return value
    return 0.0 if abs(value) < TINY else float(f"{value:.{DIGITS}g}")


DECODING = ("decode_flop", "decode_bytes", "tiled_bytes", "decoding_of")
PASSES = ("forward_bytes", "update_bytes", "kept_factor", "whole_factor", "flop")


def measure(
    key: str,
    say: Callable[[str], Any],
    *,
    decoding: NetworkShape | None = None,
    passes: NetworkShape | None = None,
) -> dict[str, Any]:
    """Return the `[network]` table of a preset: sizes, laws, and their largest deviation at another shape.

    With `decoding`, the table of a preset with the same VAE, the laws of decoding are taken from it. With `passes`,
    the table of a preset with nearly the same network, those of the network are, and are compared as well.
    """
    with opened(key) as subject:
        say(f"{key}: opened")
        large, small, other, middle = shapes_of(subject.preset, subject.family.spec)
        found: dict[str, Any] = dict(subject.sizes())
        found["text_bytes"] = subject.peak_of(subject.encode)
        deviations = {} if decoding is None else {"decoding": decoding.error}
        count = {shape: tokens_of(found["token"], shape) for shape in (large, small, other, middle)}
        if passes is not None:
            found |= {name: getattr(passes, name) for name in PASSES}

        def law(name: str, peak: Callable[[Shape], float]) -> None:
            points = [] if passes is not None else [(count[shape], peak(shape)) for shape in (large, small)]
            if points:
                found[name] = line(points)
            measured = peak(other)

            def check() -> float:
                return subject.deviation(other.clips * activations(found[name], count[other]), measured)

            deviations[name] = check()
            if points and abs(deviations[name]) > STRAIGHT:
                say(f"{key}: {name} {deviations[name]:+.1%} with a straight law")
                points.append((count[middle], peak(middle)))
                terms = np.array([[tokens, 1.0, tokens**2] for tokens, _ in points])
                found[name] = _positive(terms, np.array([size for _, size in points]))
                deviations[name] = check()
            say(f"{key}: {name} {deviations[name]:+.1%}")

        law("forward_bytes", subject.forward)
        if passes is None:
            _flop(subject, found, (large, small, other), count)
        if decoding is None:
            found["decode_flop"] = subject.decode_flop(large) / large.pixels
            _decoding(subject, found, (large, small, other), deviations)
            say(f"{key}: decode {deviations['decode_bytes']:+.1%}, tiled {deviations['tiled_bytes']:+.1%}")
        else:
            found |= {name: getattr(decoding, name) for name in DECODING}
        law("update_bytes", lambda shape: subject.update(shape, checkpointed=True))
        found["lora_params"] = subject.lora_params()
        if passes is None:
            checkpointed = activations(found["update_bytes"], count[small])
            found["kept_factor"] = subject.update(small, checkpointed=False) / checkpointed
            found["whole_factor"] = max(1.0, subject.update(small, checkpointed=True, rank=0) / checkpointed)
        found["error"] = max(abs(value) for value in deviations.values())
        return {name: rounded(found[name]) for name in NetworkShape.model_fields if name in found}


def _flop(subject: Subject, found: dict[str, Any], shapes: Sequence[Shape], count: dict[Shape, int]) -> None:
    flops = [subject.flop(shape) for shape in shapes]
    powers = np.array([[1.0, count[shape], count[shape] ** 2] for shape in shapes])
    solved = np.linalg.solve(powers / powers.max(axis=0), np.array(flops)) / powers.max(axis=0)
    found["flop"] = [max(0.0, float(value)) for value in solved]


def _decoding(subject: Subject, found: dict[str, Any], shapes: Sequence[Shape], deviations: dict[str, float]) -> None:
    large, small, other = shapes
    if subject.family.spec.frame_stride == 1:  # pictures are decoded a batch at a time: clips must be longer than one
        longest = min(subject.preset.max_frames, LONG)
        large, small, other = (
            replace(shape, num_frames=round(share * longest))
            for shape, share in ((large, 1.0), (small, 0.6), (other, 0.8))
        )
    points = [large, small, replace(large, num_frames=small.num_frames)]
    terms = np.array([_decode_terms(shape) for shape in points])
    found["decode_bytes"] = _positive(terms, np.array([subject.decode(shape) for shape in points]))
    foretold = float(_decode_terms(other) @ np.array(found["decode_bytes"]))
    deviations["decode_bytes"] = subject.deviation(foretold, subject.decode(other))
    spec, least = subject.family.spec, subject.preset.min_frames
    few, more = (spec.nearest_frames(max(least, frames)) for frames in (9, 17))
    points = [replace(large, num_frames=few), replace(small, num_frames=few), replace(small, num_frames=more)]
    terms = np.array([_tile_terms(shape) for shape in points])
    found["tiled_bytes"] = _positive(terms, np.array([subject.decode(shape, tiled=True) for shape in points]))
    longer = replace(other, num_frames=more)
    foretold = float(_tile_terms(longer) @ np.array(found["tiled_bytes"]))
    deviations["tiled_bytes"] = subject.deviation(foretold, subject.decode(longer, tiled=True))


def _decode_terms(shape: Shape) -> np.ndarray:
    return np.array([shape.pixels, shape.width * shape.height, 1.0])


def _tile_terms(shape: Shape) -> np.ndarray:
    return np.array([shape.pixels, shape.num_frames, 1.0])


def _positive(terms: np.ndarray, peaks: np.ndarray) -> list[float]:
    """Return the coefficients of the peaks' terms, none of them negative."""
    from scipy.optimize import nnls

    scale = terms.max(axis=0)
    return [float(value) for value in nnls(terms / scale / peaks[:, None], np.ones(len(peaks)))[0] / scale]
