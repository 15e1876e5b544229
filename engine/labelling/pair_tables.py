"""One row of a table of preference pairs: which columns name the prompt, the two clips and the winner.

A table says who won in one of two ways:

by column    chosen and rejected clips have columns of their own, under one of `NAMES`
by verdict   two columns that do not tell (`NEUTRAL`, such as video1 and video2), and a third (`VERDICTS`) that names
             the winner: the name of its column, its number (1, 2), its letter (a, b) or its path; `TIES` name none

Training and import read both here, so a file means the same to both. Imports no torch.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.errors import ConfigError
from engine.request import PROMPT_LIMIT

Row = dict[str, Any]
SIDES = ("chosen", "rejected")
NAMES = {
    "prompt": ("prompt", "frame_caption", "caption", "text"),
    "chosen": ("chosen", "winner", "win", "video_win", "win_video", "chosen_video", "video"),
    "rejected": ("rejected", "loser", "lose", "video_lose", "lose_video", "rejected_video"),
}
NEUTRAL = (
    ("video1", "video2"),
    ("video_1", "video_2"),
    ("video_a", "video_b"),
    ("clip1", "clip2"),
    ("clip_1", "clip_2"),
    ("clip_a", "clip_b"),
    ("left", "right"),
)
VERDICTS = ("preference", "preferred", "winner", "choice", "better", "label", "chosen")
TIES = ("tie", "equal", "same", "both", "neither", "none", "draw")


class Tie(Exception):
    """The row prefers neither clip: no pair, and no mistake."""


def read_pair(row: Mapping[str, Any], needed: Sequence[str] = SIDES) -> Row:
    """The row with `prompt`, the `needed` sides as they are named, and `score` and `margin` as numbers where given.

    Raises Tie, and ConfigError with a clause that begins with "it", for the caller to put the place before.
    """
    prompt = _column(row, NAMES["prompt"])
    named = {side: column for side in SIDES if (column := _column(row, NAMES[side]))}
    sides = named if len(named) == len(SIDES) else _by_verdict(row) or named
    lacking = [*(["prompt"] if prompt is None else []), *(side for side in needed if side not in sides)]
    if prompt is None or lacking:
        raise ConfigError(f"it lacks {' and '.join(lacking)} (it has {', '.join(map(str, row))}).")
    words = str(row[prompt])
    if len(words) > PROMPT_LIMIT:
        raise ConfigError(f"its prompt has {len(words):,} characters, but a prompt has at most {PROMPT_LIMIT:,}.")
    others = {name: value for name, value in row.items() if name not in (*SIDES, "score", "margin")}
    return {**others, "prompt": words, **{side: row[sides[side]] for side in needed}, **numbers(row)}


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The row's score (above 0) and margin (0 to 1), where it has them. Raises ConfigError: any other value."""
    found = {}
    for name, least, most in (("score", 0.0, math.inf), ("margin", 0.0, 1.0)):
        said = row.get(name)
        if said is None or said == "":
            continue
        value = _number(said)
        if value is None or not least <= value <= most or (name == "score" and value == 0):
            wanted = "a number above 0" if name == "score" else "a number from 0 to 1"
            raise ConfigError(f"its {name} is {str(said)[:40]!r}, but must be {wanted}: correct it, or leave it empty.")
        found[name] = value
    return found


def _number(said: Any) -> float | None:
    if isinstance(said, bool) or not isinstance(said, str | int | float):
        return None
    try:
        value = float(said)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _by_verdict(row: Mapping[str, Any]) -> dict[str, str] | None:
    """The columns of the winner and the loser where two neutral columns hold the clips; None where none do."""
    pair = next((names for names in NEUTRAL if all(_said(row, name) for name in names)), None)
    if pair is None:
        return None
    verdict = next((name for name in VERDICTS if _said(row, name)), None)
    if verdict is None:
        raise ConfigError(
            f"it does not tell which of {pair[0]} and {pair[1]} won: name the columns chosen and rejected, or add a "
            f"column preference that says {pair[0]} or {pair[1]}."
        )
    said = str(row[verdict]).strip()
    if said.lower() in TIES:
        raise Tie
    winner = _side(said, row, pair)
    if winner is None:
        raise ConfigError(f"its {verdict} is {said[:40]!r}, but must be {pair[0]}, {pair[1]} or tie.")
    return {"chosen": pair[winner], "rejected": pair[1 - winner]}


def _side(said: str, row: Mapping[str, Any], pair: tuple[str, str]) -> int | None:
    """0 or 1 for the winner that the verdict names, None when it names neither."""
    for number, name in enumerate(pair):
        known = (name, str(number + 1), f"{number + 1}.0", "ab"[number])
        if said.lower() in known or said == str(row[name]).strip():
            return number
    return None


def _said(row: Mapping[str, Any], name: str) -> bool:
    return row.get(name) not in (None, "")


def _column(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if _said(row, name)), None)
