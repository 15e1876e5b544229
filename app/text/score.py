"""Remarks on scores: penalties that lower a total, and reasons why a total is not ranked."""

from collections.abc import Sequence

UNRANKED = "score not ranked"
OLD_REPORT = "Scored with another calibration, so it is not ranked. Score the clip again."


def not_applicable(titles: Sequence[str]) -> str:
    return f"Not applicable here: {', '.join(titles)}. The other rewards share the weight."


def unjudged(titles: Sequence[str]) -> str:
    return f"{' and '.join(titles)} cannot judge this prompt, so the total is not ranked with those of other prompts."


def too_short(least_frames: int) -> str:
    return f"Fewer than {least_frames} frames: not ranked with longer clips."


def gate(key: str, level: float) -> str:
    return f"{key.capitalize()} penalty x{level:.2f}: {GATES.get(key, '')}".rstrip(": ") + "."


GATES = {
    "motion": "too little motion",
    "liveness": "looks like a still image that is panned, zoomed or moved as a whole",
    "sharpness": "frames are blurry, or too sharp and saturated",
    "cut": "abrupt change as in a cut",
    "loop": "frames repeat",
}
