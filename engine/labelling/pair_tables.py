"""Rows of preference data: `PairLine`, a row of our `pairs.jsonl`, and the columns of other tables.

Exports, imports, runs and `dailies pairs` write `PairLine`s. Another table marks the winner in one of two ways:

by column    chosen and rejected clips have columns of their own, under one of `NAMES`
by verdict   two neutral columns (`NEUTRAL`, such as video1 and video2), and a third (`VERDICTS`) that identifies the
             winner by column name, number (1, 2), letter (a, b) or path; `TIES` mark a tie

Training and import both read tables here, so that they agree on a file's meaning. Imports no torch.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.files.text_files import json_lines
from engine.labelling.preference_pairs import PairSource, PreferencePair
from engine.request import PROMPT_LIMIT

Row = dict[str, Any]
SIDES = ("chosen", "rejected")
PAIRS_FILE = "pairs.jsonl"
NAMES = {
    "prompt": ("prompt", "frame_caption", "caption", "text"),
    "chosen": ("chosen", "winner", "win", "video_win", "win_video", "chosen_video", "video", "video_path", "file_name"),
    "rejected": ("rejected", "loser", "lose", "video_lose", "lose_video", "rejected_video"),
}
NEUTRAL = (
    ("video1", "video2"),
    ("video_1", "video_2"),
    ("video_a", "video_b"),
    ("path_A", "path_B"),
    ("clip1", "clip2"),
    ("clip_1", "clip_2"),
    ("clip_a", "clip_b"),
    ("left", "right"),
)
VERDICTS = ("preference", "preferred", "winner", "choice", "better", "label", "Overall", "chosen")
TIES = ("tie", "equal", "same", "both", "neither", "none", "draw")


NUMBERS = {
    "score": "a number above 0: correct it, or leave it empty",
    "margin": "a number from 0 to 1: correct it, or leave it empty",
}
Checked = TypeVar("Checked", bound=BaseModel)


class PairNumbers(BaseModel):
    """The weights of a pair in training. Other fields of a row are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    margin: float | None = Field(None, ge=0, le=1)
    """Strength of the preference; DPO's `margin_scale` uses it."""
    score: float | None = Field(None, gt=0)
    """Weight of the pair in VideoDPO's loss."""

    @field_validator("margin", "score", mode="before")
    @classmethod
    def _number_or_none(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("true and false are no numbers")
        return None if value == "" else value

    def fields(self) -> Row:
        """Return the fields that are given."""
        return self.model_dump(exclude_none=True)


class PairLine(PairNumbers):
    """A row of `pairs.jsonl`: a clip that is preferred to another clip of the same prompt."""

    prompt: str = Field(min_length=1, max_length=PROMPT_LIMIT)
    """Prompt of both clips."""
    chosen: str = Field(min_length=1)
    """Path of the preferred clip, relative to the file."""
    rejected: str = Field(min_length=1)
    """Path of the other clip."""
    votes: int | None = Field(None, ge=0)
    """Number of people's votes behind the preference."""
    source: PairSource | None = None
    """Origin: human (votes), judge (AI labeller), reward (scores of a mix) or dataset (imported)."""
    pair_id: str | None = None
    """Pair of the campaign."""
    both_bad: bool | None = None
    """True: half of the votes or more found both clips bad; KTO then takes both as bad."""
    image: str | None = None
    """First picture of both clips: a name in the workspace's store, or a path."""
    last_image: str | None = None
    """Last picture of both clips."""
    vote_numbers: tuple[int, ...] | None = None
    """Numbers of the votes in the database."""
    chosen_clip: str | None = None
    """Id of the preferred clip in the library."""
    rejected_clip: str | None = None
    """Id of the other clip in the library."""


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
    cells = {name: row[name] for name in PairNumbers.model_fields if _has_value(row, name)}
    return _checked(PairNumbers, cells).fields()


def read_pairs(path: Path) -> list[Row]:
    """Return the rows of a file of `PairLine`s, with clip paths relative to it.

    Raises ConfigError with the line, the field and the value of a wrong row.
    """
    if not path.is_file():
        raise ConfigError(f"There is no file of pairs {path}.")
    rows = []
    for row in json_lines(path).rows:
        try:
            if row.problem:
                raise ConfigError(row.problem)
            fields = _checked(PairLine, row.fields).fields()
        except ConfigError as error:
            raise ConfigError(f"{path}, line {row.line} is no pair: {error}") from error
        rows.append({**fields, **{side: str(path.parent / fields[side]) for side in SIDES}})
    return rows


def pair_line(pair: PreferencePair, path: Callable[[str], str], **others: Any) -> PairLine:
    """Return the row of a pair; `path` gives the path of a clip id, `others` are further fields."""
    names = ("prompt", "margin", "votes", "source", "pair_id")
    sides = {side: path(getattr(pair, side)) for side in SIDES}
    return PairLine(**{name: getattr(pair, name) for name in names}, **sides, **others)


def check_line(row: Mapping[str, Any]) -> None:
    """Raise ConfigError for a row of a `pairs.jsonl` with a wrong field.

    Rows without a prompt and paths under these names are of another program and are not checked.
    """
    if "prompt" in row and all(isinstance(row.get(side), str) for side in SIDES):
        _checked(PairLine, row)


def lines_text(lines: Iterable[PairLine]) -> str:
    """Return the text of a `pairs.jsonl`."""
    return "".join(json.dumps(line.fields(), ensure_ascii=False) + "\n" for line in lines)


def write_pairs(folder: Path, lines: Iterable[PairLine]) -> Path:
    """Write `pairs.jsonl` into a folder of clips, whose names are in the rows; return the file."""
    path = folder / PAIRS_FILE
    write_text_atomic(path, lines_text(lines))
    return path


def _checked(model: type[Checked], fields: Mapping[str, Any]) -> Checked:
    """Validate fields. Raises ConfigError with a clause that begins with "its" or "it lacks"."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise ConfigError(f"it lacks {name} (it has {', '.join(map(str, fields))}).") from error
        valid = NUMBERS.get(name, f"valid: {str(first['msg'])[:1].lower()}{str(first['msg'])[1:]}")
        raise ConfigError(f"its {name} is {str(first['input'])[:40]!r}, but must be {valid}.") from error


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
