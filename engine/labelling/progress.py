"""How far a labelling campaign is, in all and for each labeller."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

from engine.labelling.assignment import (
    AssignmentRequest,
    free_pairs,
    has_both_clips,
    has_its_votes,
    open_assignments,
    votes_to_ask_for,
)
from engine.labelling.campaign_spec import CampaignSpec
from engine.storage.library import now
from engine.storage.schema import ASSIGNMENTS, PAIRS, VOTES

PAUSE = timedelta(minutes=5)  # a longer time between two votes is a pause, and no part of the pace


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerProgress:
    """One labeller's part. `done` counts all votes that stand, skips and repeats too; `remaining` the pairs that they
    can still be asked about, open ones included: none once the campaign is closed or has its votes. `votes_per_hour`
    leaves pauses out, None for fewer than two votes; `median_ms` is the time a vote took, None where no vote says."""

    labeller: str
    done: int
    skipped: int
    remaining: int
    votes_per_hour: float | None
    median_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignProgress:
    """All of a campaign. `votes` counts those that say something about a pair: no skips, no repeats; `target` is how
    many are wanted; `askable` how many of the `pairs` have both clips; `gone` those whose files were lost."""

    pairs: int
    askable: int
    gone: int
    votes: int
    target: int
    labellers: tuple[LabellerProgress, ...]

    @property
    def remaining(self) -> int:
        return max(0, self.target - self.votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerStatus:
    """How far one labeller is, and of how many `pairs` clips are `missing` that may still come or are `gone`."""

    labeller: LabellerProgress
    missing: int
    gone: int


def read_standing(
    connection: Connection, campaign_id: str, spec: CampaignSpec, name: str, *, is_open: bool
) -> LabellerStatus:
    """The progress of one labeller, also of one who was asked nothing yet."""
    votes = connection.execute(_votes(campaign_id).where(ASSIGNMENTS.c.labeller == name)).all()
    gone = _count(connection, campaign_id, PAIRS.c.gone_at.is_not(None))
    there = _count(connection, campaign_id, *has_both_clips())
    return LabellerStatus(
        labeller=_of_labeller(connection, campaign_id, spec, name, votes, is_open=is_open),
        missing=_count(connection, campaign_id) - there - gone,
        gone=gone,
    )


def read_progress(connection: Connection, campaign_id: str, spec: CampaignSpec, *, is_open: bool) -> CampaignProgress:
    """The progress of a campaign."""
    pairs = _count(connection, campaign_id)
    rows = connection.execute(_votes(campaign_id)).all()
    by_labeller: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_labeller[row.labeller].append(row)
    asked = select(ASSIGNMENTS.c.labeller).where(ASSIGNMENTS.c.campaign_id == campaign_id).distinct()
    names = sorted(connection.scalars(asked))
    wanted = pairs * spec.labellers_per_pair
    return CampaignProgress(
        pairs=pairs,
        askable=_count(connection, campaign_id, *has_both_clips()),
        gone=_count(connection, campaign_id, PAIRS.c.gone_at.is_not(None)),
        votes=sum(row.choice != "skip" and not row.is_repeat for row in rows),
        target=min(wanted, spec.target_votes or wanted),
        labellers=tuple(
            _of_labeller(connection, campaign_id, spec, name, by_labeller[name], is_open=is_open) for name in names
        ),
    )


def votes_per_hour(moments: Sequence[datetime]) -> float | None:
    """The pace of votes at these moments, without pauses and without jumps of the clock backwards."""
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    working = [gap for gap in gaps if 0 <= gap <= PAUSE.total_seconds()]
    return 3600 * len(working) / sum(working) if sum(working) > 0 else None


def _votes(campaign_id: str) -> Any:
    columns = (VOTES.c.choice, VOTES.c.ms, VOTES.c.created_at, ASSIGNMENTS.c.labeller, ASSIGNMENTS.c.is_repeat)
    joined = VOTES.join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
    query = select(*columns).select_from(joined).order_by(VOTES.c.number)
    return query.where(VOTES.c.campaign_id == campaign_id, VOTES.c.current)


def _count(connection: Connection, campaign_id: str, *conditions: Any) -> int:
    """Of the campaign's pairs."""
    query = select(func.count()).select_from(PAIRS).where(PAIRS.c.campaign_id == campaign_id, *conditions)
    return connection.scalar(query) or 0


def _of_labeller(
    connection: Connection, campaign_id: str, spec: CampaignSpec, name: str, votes: Sequence[Any], *, is_open: bool
) -> LabellerProgress:
    asking = AssignmentRequest(campaign_id=campaign_id, spec=spec, labeller=name, at=now())
    times = [row.ms for row in votes if row.ms is not None]
    return LabellerProgress(
        labeller=name,
        done=len(votes),
        skipped=sum(row.choice == "skip" for row in votes),
        remaining=_remaining(connection, asking) if is_open else 0,
        votes_per_hour=votes_per_hour([row.created_at for row in votes]),
        median_ms=median(times) if times else None,
    )


def _remaining(connection: Connection, asking: AssignmentRequest) -> int:
    """The pairs that the labeller has before them and those that they can still be given."""
    if has_its_votes(connection, asking):
        return 0
    free = connection.scalar(select(func.count()).select_from(free_pairs(asking).subquery())) or 0
    room = votes_to_ask_for(connection, asking)
    return len(open_assignments(connection, asking)) + (free if room is None else min(free, room))
