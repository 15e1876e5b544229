"""The votes of a campaign as CSV, out and in: one row a vote that stands, sides as they were shown.

Columns: prompt, left_clip, right_clip, left_entrant, right_entrant, labeller, choice, note, ms, is_repeat, created_at,
client_uuid, pair_id, and axis:<name> for each axis of the rubric. To come in, a row needs left_clip, right_clip,
labeller and choice; a row without client_uuid gets one of its content, so that a file that is read twice counts once.
"""

import csv
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.campaigns import Campaigns
from engine.data.text_files import Table, csv_table
from engine.data.votes import StoredVote, Vote
from engine.errors import ConfigError, DailiesError, StoreError

FIRST = ("prompt", "left_clip", "right_clip", "left_entrant", "right_entrant", "labeller", "choice")
LAST = ("note", "ms", "is_repeat", "created_at", "client_uuid", "pair_id")
AXIS = "axis:"
NEEDED = ("left_clip", "right_clip", "labeller", "choice")
SPACE = uuid.UUID("8a6a3f0c-7d0f-4b54-9a7e-64a1c2d0b6f3")  # of the client_uuids made here


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

    Raises ConfigError when the file is no such table, StoreError for an unknown campaign.
    """
    pairs = {frozenset((pair.clip_a, pair.clip_b)): pair.id for pair in campaigns.pairs(campaigns.get(campaign_id).id)}
    before = {one.vote.client_uuid for one in campaigns.votes(campaign_id, history=True)}
    stored, known, skipped = 0, 0, []
    for row in _read(path).rows:
        try:
            if row.problem:
                raise ConfigError(row.problem)
            vote = _vote(row.fields, pairs)
            campaigns.give(campaign_id, vote)
            is_new = campaigns.vote(vote).vote.client_uuid not in before
            stored, known = stored + is_new, known + (not is_new)
        except DailiesError as error:
            skipped.append(f"Line {row.line}: {error}")
    return ImportedVotes(stored=stored, known=known, skipped=tuple(skipped))


def _row(one: StoredVote) -> dict[str, Any]:
    vote = one.vote
    said = {"labeller": vote.labeller, "choice": vote.choice, "note": vote.note, "client_uuid": vote.client_uuid}
    said |= {"pair_id": vote.pair_id, "ms": "" if vote.ms is None else str(vote.ms), "prompt": one.prompt}
    shown = {name: getattr(one, name) for name in ("left_clip", "right_clip", "left_entrant", "right_entrant")}
    axes = {f"{AXIS}{axis}": choice for axis, choice in vote.axes.items()}
    return {**said, **shown, **axes, "is_repeat": int(one.is_repeat), "created_at": one.created_at.isoformat()}


def _read(path: Path) -> Table:
    table = csv_table(path)
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise ConfigError(f"{path} has no column {missing[0]}: votes need {', '.join(NEEDED)}.")
    return table


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
    named = row.get("client_uuid") or str(uuid.uuid5(SPACE, repr(sorted((str(k), str(v)) for k, v in row.items()))))
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
