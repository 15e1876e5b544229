"""Remarks on scores: penalties that lower a total, and reasons why a total is not ranked."""

from collections.abc import Mapping, Sequence

from app.text.general import count

UNRANKED = "score not ranked"
OLD_REPORT = "Scored with another calibration, so it is not ranked. Score the clip again."

FRAME_AXIS = "Frame"


def not_applicable(titles: Sequence[str]) -> str:
    return f"Not applicable here: {', '.join(titles)}. The other rewards share the weight."


def unjudged(titles: Sequence[str]) -> str:
    return f"{' and '.join(titles)} cannot judge this prompt, so the total is not ranked with those of other prompts."


def failed(titles: Sequence[str]) -> str:
    return f"{' and '.join(titles)} failed, so the clip is not ranked. Score it again."


def best_by(title: str) -> str:
    """Order of clips by one reward."""
    return f"Best {title} first"


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


# ---- Which mix suits which clips
def strange_to_mix(title: str, count_of: int, total: int, *, toy: bool) -> str:
    """Return the warning that the networks of a mix were not trained on such clips.

    `toy`: the networks know drawn shapes only.
    """
    clips = f"{count_of:,} of {count(total, 'clip')} here"
    if toy:
        return (
            f"The networks of “{title}” were trained on the drawn shapes of the embedded model only. Their scores of "
            f"other video ({clips}) mean little: choose another reward mix for it."
        )
    return (
        f"“{title}” is for real video. Its scores of the drawn shapes of the embedded model ({clips}) mean little: "
        "choose “Embedded model” for them."
    )


def stored(total: float) -> str:
    return f"{total:.2f} with the mix's own weights"


# ---- Imports
def uploads(number: int) -> str:
    return count(number, "upload")


def imported(label: str, failed: int) -> str:
    lost = f", {failed:,} failed" if failed else ""
    return f"Scored: {label}{lost}."


def failures(unread: Mapping[str, str], unscored: Mapping[str, str]) -> list[dict[str, str]]:
    """Rows of files that were not read, and of clips (by name) that were not scored, each with the reason."""
    return [{"name": name, "why": why} for reasons in (unread, unscored) for name, why in reasons.items()]


SAVE_WORDS = {
    "save": "Save as mix",
    "name": "Name of the new mix",
    "name_hint": "e.g. Smooth motion",
}


def saved(title: str) -> str:
    return f"Saved. “{title}” can be chosen under Reward mix, here and in Generate and Label."


def score_axis(*, hatched: bool = False) -> str:
    """Title of an axis of scores; hatched bars are not in the total."""
    return f"Score (0 to 1){'; hatched: not in the total' if hatched else ''}"
