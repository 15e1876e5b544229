"""What the page says about scores: why a total is lowered, or is not ranked beside others."""

from collections.abc import Sequence

UNRANKED = "score not ranked"
OLD_REPORT = "Scored with another calibration: not ranked beside the others. Score it again."


def unjudged(titles: Sequence[str]) -> str:
    return f"{' and '.join(titles)} cannot judge this prompt: the total is not ranked beside those of other prompts."


def too_short(least_frames: int) -> str:
    return f"Fewer than {least_frames} frames: not ranked beside longer clips."


def gate(key: str, level: float) -> str:
    return f"The {key} gate stands at {level:.2f} and lowers the total: {GATES.get(key, '')}".rstrip(": ") + "."


GATES = {
    "motion": "too little moves",
    "liveness": "it looks like a still picture that is panned, zoomed or moved in one piece",
    "sharpness": "the pictures are blurred, or sharpened and saturated too far",
    "cut": "the clip jumps like a cut",
    "loop": "the same pictures come again",
}
