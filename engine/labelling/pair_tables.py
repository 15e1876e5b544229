"""Rows of preference tables: find the columns of the prompt, the two clips and the winner.

A table marks the winner in one of two ways:

by column    chosen and rejected clips have columns of their own, under one of `NAMES`
by verdict   two neutral columns (`NEUTRAL`, such as video1 and video2), and a third (`VERDICTS`) that identifies the
             winner by column name, number (1, 2), letter (a, b) or path; `TIES` mark a tie

Training and import both read tables here, so that they agree on a file's meaning. Imports no torch.
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
    "chosen": ("chosen", "winner", "win", "video_win", "win_video", "chosen_video", "video", "file_name"),
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
    """The row is a tie. It makes no pair, and is not an error."""


def read_pair(row: Mapping[str, Any], needed: Sequence[str] = SIDES) -> Row:
    """Return the row with `prompt`, the `needed` sides, and `score` and `margin` as numbers if present.

    Sides keep the values of their columns. Raises Tie, and ConfigError with a clause that begins with "it", to which
    the caller prepends the row's position.
    """
    prompt = _column(row, NAMES["prompt"])
    by_name = {side: column for side in SIDES if (column := _column(row, NAMES[side]))}
    sides = by_name if len(by_name) == len(SIDES) else _by_verdict(row) or by_name
    lacking = [*(["prompt"] if prompt is None else []), *(side for side in needed if side not in sides)]
    if prompt is None or lacking:
        raise ConfigError(f"it lacks {' and '.join(lacking)} (it has {', '.join(map(str, row))}).")
    text = str(row[prompt])
    if len(text) > PROMPT_LIMIT:
        raise ConfigError(f"its prompt has {len(text):,} characters, but a prompt has at most {PROMPT_LIMIT:,}.")
    others = {name: value for name, value in row.items() if name not in (*SIDES, "score", "margin")}
    return {**others, "prompt": text, **{side: row[sides[side]] for side in needed}, **numbers(row)}


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the row's score (above 0) and margin (0 to 1), if present.

    Raises ConfigError for other values.
    """
    values = {}
    for name, low, high in (("score", 0.0, math.inf), ("margin", 0.0, 1.0)):
        cell = row.get(name)
        if cell is None or cell == "":
            continue
        value = _number(cell)
        if value is None or not low <= value <= high or (name == "score" and value == 0):
            valid = "a number above 0" if name == "score" else "a number from 0 to 1"
            raise ConfigError(f"its {name} is {str(cell)[:40]!r}, but must be {valid}: correct it, or leave it empty.")
        values[name] = value
    return values


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return None
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _by_verdict(row: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the columns of the winner and the loser of a table by verdict; None for other tables."""
    pair = next((names for names in NEUTRAL if all(_has_value(row, name) for name in names)), None)
    if pair is None:
        return None
    verdict = next((name for name in VERDICTS if _has_value(row, name)), None)
    if verdict is None:
        raise ConfigError(
            f"it does not show which of {pair[0]} and {pair[1]} won: name the columns chosen and rejected, or add a "
            f"column preference with {pair[0]} or {pair[1]}."
        )
    value = str(row[verdict]).strip()
    if value.lower() in TIES:
        raise Tie
    winner = _winner(value, row, pair)
    if winner is None:
        raise ConfigError(f"its {verdict} is {value[:40]!r}, but must be {pair[0]}, {pair[1]} or tie.")
    return {"chosen": pair[winner], "rejected": pair[1 - winner]}


def _winner(verdict: str, row: Mapping[str, Any], pair: tuple[str, str]) -> int | None:
    """Return 0 or 1 for the winning column, None when the verdict matches neither."""
    for number, name in enumerate(pair):
        labels = (name, str(number + 1), f"{number + 1}.0", "ab"[number])
        if verdict.lower() in labels or verdict == str(row[name]).strip():
            return number
    return None


def _has_value(row: Mapping[str, Any], name: str) -> bool:
    return row.get(name) not in (None, "")


def _column(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next((name for name in names if _has_value(row, name)), None)
