"""The votes of a campaign as CSV, out and in: one row a vote that stands, sides as they were shown.

Columns: prompt, left_clip, right_clip, left_entrant, right_entrant, labeller, choice, note, ms, is_repeat, created_at,
client_uuid, pair_id, and axis:<name> for each axis of the rubric. To come in, a row needs left_clip, right_clip,
labeller and choice; a row without client_uuid gets one of its content, so that a file that is read twice counts once.
`is_repeat` (1 or 0) keeps a repeat what it was; without it the second showing to a labeller is the repeat. Text cells
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

from engine.errors import ConfigError, DailiesError, StoreError
from engine.files.csv_cells import guarded, unguarded
from engine.files.text_files import Table, csv_table
from engine.labelling.campaigns import Campaigns
from engine.labelling.vote_intake import NAMESPACE, IncomingVote
from engine.labelling.votes import StoredVote, Vote
from engine.storage.database import check_text
from engine.storage.library import now

FIRST = ("prompt", "left_clip", "right_clip", "left_entrant", "right_entrant", "labeller", "choice")
LAST = ("note", "ms", "is_repeat", "created_at", "client_uuid", "pair_id")
AXIS = "axis:"
NEEDED = ("left_clip", "right_clip", "labeller", "choice")
REPEATS: Mapping[str, bool | None] = {"": None, "0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVotes:
    """`stored` are new; `known` were there already; `skipped` has a sentence for each row that was not understood."""

    stored: int
    known: int
    skipped: tuple[str, ...]


def export_votes(campaigns: Campaigns, campaign_id: str, path: Path) -> int:
    """Write the campaign's votes that stand and say how many. Raises StoreError when the file cannot be written."""
    axes = [f"{AXIS}{axis}" for axis in campaigns.get(campaign_id).spec.axes]
    votes = campaigns.votes(campaign_id)
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [*FIRST, *axes, *LAST], restval="")
            writer.writeheader()
            writer.writerows(_row(one) for one in votes)
    except OSError as error:
        raise StoreError(f"The votes cannot be written to {path}: {error.strerror or error}.") from error
    return len(votes)


def import_votes(campaigns: Campaigns, campaign_id: str, path: Path) -> ImportedVotes:
    """Add votes on the campaign's pairs, each as if its labeller had been given the pair with those sides.

    All in one transaction: a row that is refused changes nothing.

    Raises ConfigError when the file is no such table, StoreError for an unknown campaign.
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
    outcomes = campaigns.take(campaign_id, rows)
    for line, outcome in zip(lines, outcomes, strict=True):
        if isinstance(outcome, DailiesError):
            problems[line] = outcome
    skipped = tuple(f"Line {line}: {problem}" for line, problem in sorted(problems.items()))
    return ImportedVotes(stored=outcomes.count(True), known=outcomes.count(False), skipped=skipped)


def _row(one: StoredVote) -> dict[str, Any]:
    vote = one.vote
    said = {"labeller": vote.labeller, "choice": vote.choice, "note": vote.note, "client_uuid": vote.client_uuid}
    said |= {"pair_id": vote.pair_id, "ms": "" if vote.ms is None else str(vote.ms), "prompt": one.prompt}
    shown = {name: getattr(one, name) for name in ("left_clip", "right_clip", "left_entrant", "right_entrant")}
    axes = {f"{AXIS}{axis}": choice for axis, choice in vote.axes.items()}
    cells = {name: guarded(text) for name, text in {**said, **shown, **axes}.items()}
    return {**cells, "is_repeat": int(one.is_repeat), "created_at": one.created_at.isoformat()}


def _read(path: Path) -> Table:
    table = csv_table(path)
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise ConfigError(f"{path} has no column {missing[0]}: votes need {', '.join(NEEDED)}.")
    return table


def _incoming(row: Mapping[str, Any], pairs: Mapping[frozenset[str], str]) -> IncomingVote:
    """A row as it was exported, or as a person wrote it. Raises ConfigError."""
    text = {name: unguarded(cell) for name, cell in row.items() if isinstance(cell, str)}
    said = text.get("is_repeat", "").strip().lower()
    if said not in REPEATS:
        raise ConfigError(f"is_repeat = {said[:20]!r} will not do: write 1, 0, or nothing.")
    vote = _vote(text, pairs)
    check_text(vote.note, vote.labeller)
    return IncomingVote(vote=vote, is_repeat=REPEATS[said], voted_at=_moment(text.get("created_at", "")))


def _moment(said: str) -> datetime:
    """When the vote was cast; now where the table does not say, or names a moment that is still to come."""
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        return now()
    return min(moment, now()) if moment.tzinfo is not None else now()


def _vote(row: Mapping[str, str], pairs: Mapping[frozenset[str], str]) -> Vote:
    shown = frozenset((row["left_clip"], row["right_clip"]))
    if shown not in pairs:
        raise ConfigError(f"the campaign has no pair of {row['left_clip'][:20]!r} and {row['right_clip'][:20]!r}.")
    axes = {name.removeprefix(AXIS): said for name, said in row.items() if name and name.startswith(AXIS) and said}
    fields: dict[str, Any] = {
        "pair_id": pairs[shown],
        "choice": row["choice"],
        "shown_left": row["left_clip"],
        "axes": axes,
    }
    fields |= {"note": row.get("note") or "", "ms": _milliseconds(row.get("ms") or "")}
    named = row.get("client_uuid") or str(uuid.uuid5(NAMESPACE, repr(sorted((str(k), str(v)) for k, v in row.items()))))
    return Vote.read({**fields, "client_uuid": named}, row["labeller"])


def _milliseconds(said: str) -> float | None:
    """How long the vote took; None where the column is empty. Raises ConfigError for what is no number of 0 or more."""
    if not said.strip():
        return None
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(f"ms = {said[:40]!r} is no time: give milliseconds, or leave it empty.")
    return value
