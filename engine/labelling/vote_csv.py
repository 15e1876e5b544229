"""Export and import of a campaign's votes as CSV: one row per current vote, with sides as shown.

Columns: prompt, left_clip, right_clip, left_entrant, right_entrant, labeller, choice, note, ms, is_repeat, created_at,
client_uuid, pair_id, and axis:<name> for each axis of the rubric. An imported row needs left_clip, right_clip,
labeller and choice. A row without client_uuid gets one derived from its content, so that importing a file twice counts
once. `is_repeat` (1 or 0) marks repeats; without it, a pair's second showing to a labeller is the repeat. Text cells
that a spreadsheet would evaluate are guarded, see `engine.files.csv_cells`.
"""

import csv
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.clock import now
from engine.errors import ConfigError, DailiesError, StoreError
from engine.files.csv_cells import guarded, unguarded
from engine.files.text_files import Table, csv_table
from engine.labelling.campaigns import Campaigns
from engine.labelling.vote_intake import NAMESPACE, IncomingVote
from engine.labelling.votes import StoredVote, Vote
from engine.storage.database import check_text

FIRST_COLUMNS = ("prompt", "left_clip", "right_clip", "left_entrant", "right_entrant", "labeller", "choice")
LAST_COLUMNS = ("note", "ms", "is_repeat", "created_at", "client_uuid", "pair_id")
AXIS = "axis:"
NEEDED = ("left_clip", "right_clip", "labeller", "choice")
REPEATS: Mapping[str, bool | None] = {"": None, "0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVotes:
    """Result of an import: `stored` new votes, `known` existing ones, and one sentence per `skipped` row."""

    stored: int
    known: int
    skipped: tuple[str, ...]


def export_votes(campaigns: Campaigns, campaign_id: str, path: Path) -> int:
    """Write the campaign's current votes and return their number. Raises StoreError when writing fails."""
    axes = [f"{AXIS}{axis}" for axis in campaigns.get(campaign_id).spec.axes]
    votes = campaigns.votes(campaign_id)
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*FIRST_COLUMNS, *axes, *LAST_COLUMNS], restval="")
            writer.writeheader()
            writer.writerows(_row(vote) for vote in votes)
    except OSError as error:
        raise StoreError(f"The votes cannot be written to {path}: {error.strerror or error}.") from error
    return len(votes)


def import_votes(campaigns: Campaigns, campaign_id: str, path: Path) -> ImportedVotes:
    """Add votes on the campaign's pairs, as if their pairs had been assigned with those sides.

    All rows are stored in one transaction; a rejected row changes nothing. Raises ConfigError when the file is not
    a table of votes, StoreError for an unknown campaign.
    """
    pairs = {frozenset((pair.clip_a, pair.clip_b)): pair.id for pair in campaigns.pairs(campaigns.get(campaign_id).id)}
    rows, lines, problems = [], [], {}
    for row in _read(path).rows:
        try:
            if row.problem:
                raise ConfigError(row.problem)
            rows.append(_incoming(row.fields, pairs))
            lines.append(row.line)
        except DailiesError as error:
            problems[row.line] = error
    outcomes = campaigns.store_votes(campaign_id, rows)
    for line, outcome in zip(lines, outcomes, strict=True):
        if isinstance(outcome, DailiesError):
            problems[line] = outcome
    skipped = tuple(f"Line {line}: {problem}" for line, problem in sorted(problems.items()))
    return ImportedVotes(stored=outcomes.count(True), known=outcomes.count(False), skipped=skipped)


def _row(stored: StoredVote) -> dict[str, Any]:
    vote = stored.vote
    judgement = {"labeller": vote.labeller, "choice": vote.choice, "note": vote.note, "client_uuid": vote.client_uuid}
    judgement |= {"pair_id": vote.pair_id, "ms": "" if vote.ms is None else str(vote.ms), "prompt": stored.prompt}
    shown = {name: getattr(stored, name) for name in ("left_clip", "right_clip", "left_entrant", "right_entrant")}
    axes = {f"{AXIS}{axis}": choice for axis, choice in vote.axes.items()}
    cells = {name: guarded(text) for name, text in {**judgement, **shown, **axes}.items()}
    return {**cells, "is_repeat": int(stored.is_repeat), "created_at": stored.created_at.isoformat()}


def _read(path: Path) -> Table:
    table = csv_table(path)
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise ConfigError(f"{path} has no column {missing[0]}: votes need {', '.join(NEEDED)}.")
    return table


def _incoming(row: Mapping[str, Any], pairs: Mapping[frozenset[str], str]) -> IncomingVote:
    """Parse a row, exported or written by hand. Raises ConfigError."""
    text = {name: unguarded(cell) for name, cell in row.items() if isinstance(cell, str)}
    is_repeat = text.get("is_repeat", "").strip().lower()
    if is_repeat not in REPEATS:
        raise ConfigError(f"is_repeat = {is_repeat[:20]!r} is invalid: write 1, 0, or leave it empty.")
    vote = _vote(text, pairs)
    check_text(vote.note, vote.labeller)
    return IncomingVote(vote=vote, is_repeat=REPEATS[is_repeat], voted_at=_moment(text.get("created_at", "")))


def _moment(text: str) -> datetime:
    """Parse the time of a vote; now if it is missing, invalid or in the future."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now()
    return min(moment, now()) if moment.tzinfo is not None else now()


def _vote(row: Mapping[str, str], pairs: Mapping[frozenset[str], str]) -> Vote:
    shown = frozenset((row["left_clip"], row["right_clip"]))
    if shown not in pairs:
        raise ConfigError(f"the campaign has no pair of {row['left_clip'][:20]!r} and {row['right_clip'][:20]!r}.")
    axes = {name.removeprefix(AXIS): cell for name, cell in row.items() if name and name.startswith(AXIS) and cell}
    fields: dict[str, Any] = {
        "pair_id": pairs[shown],
        "choice": row["choice"],
        "shown_left": row["left_clip"],
        "axes": axes,
    }
    fields |= {"note": row.get("note") or "", "ms": _milliseconds(row.get("ms") or "")}
    content = repr(sorted((str(name), str(cell)) for name, cell in row.items()))
    client_uuid = row.get("client_uuid") or str(uuid.uuid5(NAMESPACE, content))
    return Vote.read({**fields, "client_uuid": client_uuid}, row["labeller"])


def _milliseconds(text: str) -> float | None:
    """Parse the time that a vote took; None if empty.

    Raises ConfigError for anything but a number of 0 or more.
    """
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(f"ms = {text[:40]!r} is not a time: give milliseconds, or leave it empty.")
    return value
