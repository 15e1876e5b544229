"""Progress of a labelling campaign, in total and per labeller."""

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
    open_assignments,
    target_reached,
    votes_needed,
)
from engine.labelling.campaign_spec import CampaignSpec
from engine.storage.library import Library, now
from engine.storage.schema import ASSIGNMENTS, PAIRS, VOTES

PAUSE = timedelta(minutes=5)  # a longer gap between two votes is a pause and does not count towards the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerProgress:
    """Progress of one labeller.

    `done` counts all current votes, including skips and repeats. `remaining` counts the pairs that can still be
    assigned to the labeller, including open assignments; 0 once the campaign is closed or has reached its target.
    `votes_per_hour` leaves pauses out and is None for fewer than two votes. `median_ms` is the median time per vote,
    None when no vote has a time.
    """

    labeller: str
    done: int
    skipped: int
    remaining: int
    votes_per_hour: float | None
    median_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignProgress:
    """Progress of a whole campaign.

    `votes` counts without skips and repeats; `target` is the number of votes needed. `askable` counts the `pairs`
    that can be assigned, `gone` the pairs that lost files of their clips. The names are keys of the CLI's JSON.
    """

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
    """Progress of one labeller.

    `awaiting_clips` counts the pairs whose clips may still be generated, `files_missing` those that lost files.
    """

    labeller: LabellerProgress
    awaiting_clips: int
    files_missing: int


def read_labeller_status(
    connection: Connection, campaign_id: str, spec: CampaignSpec, name: str, *, is_open: bool
) -> LabellerStatus:
    """Return the progress of one labeller, who need not have any assignment yet."""
    votes = connection.execute(_votes(campaign_id).where(ASSIGNMENTS.c.labeller == name)).all()
    files_missing = _count(connection, campaign_id, PAIRS.c.gone_at.is_not(None))
    with_both_clips = _count(connection, campaign_id, *has_both_clips())
    return LabellerStatus(
        labeller=_of_labeller(connection, campaign_id, spec, name, votes, is_open=is_open),
        awaiting_clips=_count(connection, campaign_id) - with_both_clips - files_missing,
        files_missing=files_missing,
    )


def read_progress(connection: Connection, campaign_id: str, spec: CampaignSpec, *, is_open: bool) -> CampaignProgress:
    """Return the progress of a campaign."""
    pairs = _count(connection, campaign_id)
    rows = connection.execute(_votes(campaign_id)).all()
    by_labeller: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_labeller[row.labeller].append(row)
    labellers = select(ASSIGNMENTS.c.labeller).where(ASSIGNMENTS.c.campaign_id == campaign_id).distinct()
    names = sorted(connection.scalars(labellers))
    all_votes = pairs * spec.labellers_per_pair
    return CampaignProgress(
        pairs=pairs,
        askable=_count(connection, campaign_id, *has_both_clips()),
        gone=_count(connection, campaign_id, PAIRS.c.gone_at.is_not(None)),
        votes=sum(row.choice != "skip" and not row.is_repeat for row in rows),
        target=min(all_votes, spec.target_votes or all_votes),
        labellers=tuple(
            _of_labeller(connection, campaign_id, spec, name, by_labeller[name], is_open=is_open) for name in names
        ),
    )


def count_votes(store: Library) -> int:
    """Return the number of current votes in all campaigns, without skips."""
    query = select(func.count()).select_from(VOTES).where(VOTES.c.current, VOTES.c.choice != "skip")
    with store.database.reading() as connection:
        return connection.scalar(query) or 0


def votes_per_hour(moments: Sequence[datetime]) -> float | None:
    """Return the rate of votes at these times, without pauses and backward jumps of the clock."""
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    working = [gap for gap in gaps if 0 <= gap <= PAUSE.total_seconds()]
    return 3600 * len(working) / sum(working) if sum(working) > 0 else None


def _votes(campaign_id: str) -> Any:
    columns = (VOTES.c.choice, VOTES.c.ms, VOTES.c.created_at, ASSIGNMENTS.c.labeller, ASSIGNMENTS.c.is_repeat)
    joined = VOTES.join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
    joined = joined.join(PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id)
    query = select(*columns).select_from(joined).order_by(VOTES.c.number)
    return query.where(VOTES.c.campaign_id == campaign_id, VOTES.c.current, PAIRS.c.dropped_at.is_(None))


def _count(connection: Connection, campaign_id: str, *conditions: Any) -> int:
    """Count the campaign's pairs in use that meet the conditions."""
    query = select(func.count()).select_from(PAIRS).where(PAIRS.c.campaign_id == campaign_id)
    query = query.where(PAIRS.c.dropped_at.is_(None), *conditions)
    return connection.scalar(query) or 0


def _of_labeller(
    connection: Connection, campaign_id: str, spec: CampaignSpec, name: str, votes: Sequence[Any], *, is_open: bool
) -> LabellerProgress:
    request = AssignmentRequest(campaign_id=campaign_id, spec=spec, labeller=name, at=now())
    times = [row.ms for row in votes if row.ms is not None]
    return LabellerProgress(
        labeller=name,
        done=len(votes),
        skipped=sum(row.choice == "skip" for row in votes),
        remaining=_remaining(connection, request) if is_open else 0,
        votes_per_hour=votes_per_hour([row.created_at for row in votes]),
        median_ms=median(times) if times else None,
    )


def _remaining(connection: Connection, request: AssignmentRequest) -> int:
    """Count the labeller's open assignments and the pairs that can still be assigned to them."""
    if target_reached(connection, request):
        return 0
    free = connection.scalar(select(func.count()).select_from(free_pairs(request).subquery())) or 0
    needed = votes_needed(connection, request)
    return len(open_assignments(connection, request)) + (free if needed is None else min(free, needed))
