"""How far a labelling campaign is, in all and for each labeller."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

from engine.data.assigning import Asking, askable, free_pairs
from engine.data.campaign_spec import CampaignSpec
from engine.data.store import now
from engine.data.tables import ASSIGNMENTS, PAIRS, VOTES

PAUSE = timedelta(minutes=5)  # a longer time between two votes is a pause, and no part of the pace


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerProgress:
    """One labeller's part. `done` counts all votes that stand, skips and repeats too; `remaining` the pairs that could
    still be given, open ones included. `votes_per_hour` leaves pauses out, None for fewer than two votes; `median_ms`
    is the time a vote took, None where no vote says."""

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


def read_progress(connection: Connection, campaign_id: str, spec: CampaignSpec) -> CampaignProgress:
    """The progress of a campaign."""
    of_campaign = PAIRS.c.campaign_id == campaign_id

    def count(*conditions: Any) -> int:
        return connection.scalar(select(func.count()).select_from(PAIRS).where(of_campaign, *conditions)) or 0

    pairs = count()
    rows = connection.execute(_votes(campaign_id)).all()
    by_labeller: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_labeller[row.labeller].append(row)
    asked = select(ASSIGNMENTS.c.labeller).where(ASSIGNMENTS.c.campaign_id == campaign_id).distinct()
    names = sorted(connection.scalars(asked))
    wanted = pairs * spec.labellers_per_pair
    return CampaignProgress(
        pairs=pairs,
        askable=count(*askable()),
        gone=count(PAIRS.c.gone_at.is_not(None)),
        votes=sum(row.choice != "skip" and not row.is_repeat for row in rows),
        target=min(wanted, spec.target_votes or wanted),
        labellers=tuple(_of_labeller(connection, campaign_id, spec, name, by_labeller[name]) for name in names),
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


def _of_labeller(
    connection: Connection, campaign_id: str, spec: CampaignSpec, name: str, votes: Sequence[Any]
) -> LabellerProgress:
    asking = Asking(campaign_id=campaign_id, spec=spec, labeller=name, at=now())
    free = connection.scalar(select(func.count()).select_from(free_pairs(asking).subquery())) or 0
    is_open = (
        ASSIGNMENTS.c.campaign_id == campaign_id,
        ASSIGNMENTS.c.labeller == name,
        ASSIGNMENTS.c.voted_at.is_(None),
    )
    still_open = connection.scalar(select(func.count()).select_from(ASSIGNMENTS).where(*is_open)) or 0
    times = [row.ms for row in votes if row.ms is not None]
    return LabellerProgress(
        labeller=name,
        done=len(votes),
        skipped=sum(row.choice == "skip" for row in votes),
        remaining=free + still_open,
        votes_per_hour=votes_per_hour([row.created_at for row in votes]),
        median_ms=median(times) if times else None,
    )
