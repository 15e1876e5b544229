"""Progress of a labelling campaign, in total and per labeller."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, exists, func, select

from engine.clock import now
from engine.labelling.assignment import (
    AssignmentRequest,
    clips_exist_conditions,
    free_slot_conditions,
    open_assignments,
    shuffle_position,
    target_reached,
    unseen_condition,
    usable_pair_conditions,
    votes_needed,
)
from engine.labelling.campaign_spec import CampaignSpec
from engine.storage.database import pieces
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS, CAMPAIGN_CLIPS, CLIPS, LABELLERS, PAIRS, VOTES

LOOK_AHEAD = 300  # free pairs looked at for a labeller's remaining ones: to look at all takes seconds
PACE_VOTES = 100  # last votes of a labeller whose times give their pace
GONE = (PAIRS.c.gone_at.is_not(None), PAIRS.c.dropped_at.is_(None))
PAUSE = timedelta(minutes=5)  # a longer gap between two votes is a pause and does not count towards the rate


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerProgress:
    """Progress of one labeller.

    `done` counts all current votes, including skips and repeats. `remaining` counts the pairs that can still be
    assigned to the labeller, including open assignments; 0 once the campaign is closed or has reached its target.
    Only the next LOOK_AHEAD pairs with a free slot are looked at. `votes_per_hour` leaves pauses out and is None for
    fewer than two votes. `median_ms` is the median time per vote, None when no vote has a time. Both are those of the
    labeller's last PACE_VOTES votes.
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

    `votes` counts without skips and repeats; `target` is the number of votes needed. `assignable` counts the `pairs`
    that can be assigned, `missing_files` those that lost files of their clips. The names are keys of the CLI's JSON.
    """

    pairs: int
    assignable: int
    missing_files: int
    votes: int
    target: int
    labellers: tuple[LabellerProgress, ...]

    @property
    def remaining(self) -> int:
        return max(0, self.target - self.votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignTotals:
    """Pairs in use of a campaign, and votes on them without skips and repeats."""

    pairs: int
    votes: int

    def target(self, spec: CampaignSpec) -> int:
        """Return the number of votes needed."""
        all_votes = self.pairs * spec.labellers_per_pair
        return min(all_votes, spec.target_votes or all_votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerStatus:
    """Votes and remaining pairs of one labeller, as in `LabellerProgress`.

    `awaiting_clips` counts the pairs whose clips may still be generated, only where nothing remains (else it is 0).
    `files_missing` counts those that lost files.
    """

    done: int
    remaining: int
    awaiting_clips: int
    files_missing: int


def read_labeller_status(
    connection: Connection, campaign_id: str, spec: CampaignSpec, name: str, *, is_open: bool
) -> LabellerStatus:
    """Return the progress of one labeller, who need not have any assignment yet."""
    files_missing = _count(connection, campaign_id, *GONE)
    done = connection.scalar(_counts(campaign_id, LABELLERS.c.done).where(LABELLERS.c.labeller == name)) or 0
    remaining = _remaining(connection, _request(campaign_id, spec, name)) if is_open else 0
    awaiting_clips = 0
    if not remaining:
        with_files = _in_use(connection, campaign_id) - files_missing
        awaiting_clips = with_files - _assignable(connection, campaign_id, with_files)
    return LabellerStatus(
        done=done - sum(row.done for row in _dropped_votes(connection, campaign_id) if row.labeller == name),
        remaining=remaining,
        awaiting_clips=awaiting_clips,
        files_missing=files_missing,
    )


def read_progress(connection: Connection, campaign_id: str, spec: CampaignSpec, *, is_open: bool) -> CampaignProgress:
    """Return the progress of a campaign."""
    columns = [LABELLERS.c[name] for name in ("labeller", "done", "skipped", "counted")]
    rows = connection.execute(_counts(campaign_id, *columns).order_by(LABELLERS.c.labeller)).all()
    dropped = {row.labeller: row for row in _dropped_votes(connection, campaign_id)}
    totals = CampaignTotals(
        pairs=_in_use(connection, campaign_id),
        votes=sum(row.counted for row in rows) - sum(row.counted for row in dropped.values()),
    )
    missing_files = _count(connection, campaign_id, *GONE)
    return CampaignProgress(
        pairs=totals.pairs,
        assignable=_assignable(connection, campaign_id, totals.pairs - missing_files),
        missing_files=missing_files,
        votes=totals.votes,
        target=totals.target(spec),
        labellers=tuple(
            _of_labeller(connection, _request(campaign_id, spec, row.labeller), row, dropped.get(row.labeller), is_open)
            for row in rows
        ),
    )


def read_totals(connection: Connection) -> dict[str, CampaignTotals]:
    """Return the pairs and votes of all campaigns."""
    campaign = PAIRS.c.campaign_id
    pairs = select(campaign, func.count().label("pairs")).group_by(campaign)
    dropped = {row.campaign_id: row.pairs for row in connection.execute(pairs.where(PAIRS.c.dropped_at.is_not(None)))}
    votes = select(LABELLERS.c.campaign_id, func.sum(LABELLERS.c.counted)).group_by(LABELLERS.c.campaign_id)
    counted = {campaign_id: number for campaign_id, number in connection.execute(votes)}
    found = {}
    for row in connection.execute(pairs).all():
        unused = dropped.get(row.campaign_id, 0)
        lost = sum(each.counted for each in _dropped_votes(connection, row.campaign_id)) if unused else 0
        votes_left = counted.get(row.campaign_id, 0) - lost
        found[row.campaign_id] = CampaignTotals(pairs=row.pairs - unused, votes=votes_left)
    return found


def count_votes(store: Library) -> int:
    """Return the number of current votes in all campaigns, without skips."""
    query = select(func.sum(LABELLERS.c.done - LABELLERS.c.skipped))
    with store.database.reading() as connection:
        return connection.scalar(query) or 0


def count_clips(store: Library, campaign_id: str) -> tuple[int, int]:
    """Return the number of clips that a campaign generates, and how many of them do not exist yet."""
    exist = exists().where(CLIPS.c.id == CAMPAIGN_CLIPS.c.clip_id, CLIPS.c.deleted_at.is_(None))
    query = select(func.count(), func.count(case((~exist, 1)))).select_from(CAMPAIGN_CLIPS)
    query = query.where(CAMPAIGN_CLIPS.c.campaign_id == campaign_id, CAMPAIGN_CLIPS.c.request.is_not(None))
    with store.database.reading() as connection:
        clips, missing = connection.execute(query).one()
    return clips, missing


def votes_by_pair(
    store: Library, campaign_id: str, pair_ids: Collection[str] | None = None
) -> defaultdict[str, Counter[str]]:
    """Count the current votes by pair (None: all pairs), also dropped ones, without skips and repeats.

    The counts are by "a" and "b", the preferred clip, "tie" and "both_bad".
    """
    left_is_a = (ASSIGNMENTS.c.left_clip == PAIRS.c.clip_a).label("left_is_a")
    columns = (ASSIGNMENTS.c.pair_id, VOTES.c.choice, left_is_a)
    joined = PAIRS.join(ASSIGNMENTS, ASSIGNMENTS.c.pair_id == PAIRS.c.id)
    joined = joined.join(VOTES, and_(VOTES.c.assignment_id == ASSIGNMENTS.c.id, VOTES.c.current))
    query = select(*columns, func.count().label("times")).select_from(joined).group_by(*columns)
    query = query.where(PAIRS.c.campaign_id == campaign_id, VOTES.c.choice != "skip", ~ASSIGNMENTS.c.is_repeat)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    queries = [query] if pair_ids is None else (query.where(PAIRS.c.id.in_(piece)) for piece in pieces(pair_ids))
    with store.database.reading() as connection:
        for row in (row for each in queries for row in connection.execute(each)):
            sides = {"left": "a" if row.left_is_a else "b", "right": "b" if row.left_is_a else "a"}
            counts[row.pair_id][sides.get(row.choice, row.choice)] += row.times
    return counts


def votes_per_hour(moments: Sequence[datetime]) -> float | None:
    """Return the rate of votes at these times, without pauses and backward jumps of the clock."""
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    working = [gap for gap in gaps if 0 <= gap <= PAUSE.total_seconds()]
    return 3600 * len(working) / sum(working) if sum(working) > 0 else None


def _request(campaign_id: str, spec: CampaignSpec, labeller: str) -> AssignmentRequest:
    return AssignmentRequest(campaign_id=campaign_id, spec=spec, labeller=labeller, at=now())


def _counts(campaign_id: str, *columns: Any) -> Select[Any]:
    return select(*columns).where(LABELLERS.c.campaign_id == campaign_id)


def _dropped_votes(connection: Connection, campaign_id: str) -> Sequence[Row[Any]]:
    """Count the current votes on dropped pairs, which the counts of `LABELLERS` include."""
    skipped = VOTES.c.choice == "skip"
    joined = PAIRS.join(ASSIGNMENTS, ASSIGNMENTS.c.pair_id == PAIRS.c.id)
    joined = joined.join(VOTES, and_(VOTES.c.assignment_id == ASSIGNMENTS.c.id, VOTES.c.current))
    query = select(
        ASSIGNMENTS.c.labeller,
        func.count().label("done"),
        func.count(case((skipped, 1))).label("skipped"),
        func.count(case((and_(~skipped, ~ASSIGNMENTS.c.is_repeat), 1))).label("counted"),
    )
    query = query.select_from(joined).group_by(ASSIGNMENTS.c.labeller)
    return connection.execute(query.where(PAIRS.c.campaign_id == campaign_id, PAIRS.c.dropped_at.is_not(None))).all()


def _count(connection: Connection, campaign_id: str, *conditions: Any) -> int:
    """Count the campaign's pairs that meet the conditions."""
    query = select(func.count()).select_from(PAIRS).where(PAIRS.c.campaign_id == campaign_id, *conditions)
    return connection.scalar(query) or 0


def _in_use(connection: Connection, campaign_id: str) -> int:
    # The difference of two counts by indexes alone.
    return _count(connection, campaign_id) - _count(connection, campaign_id, PAIRS.c.dropped_at.is_not(None))


def _assignable(connection: Connection, campaign_id: str, with_files: int) -> int:
    """Count the pairs that can be assigned; `with_files` pairs in use have lost no file."""
    lacking = ~exists().where(CLIPS.c.id == CAMPAIGN_CLIPS.c.clip_id, CLIPS.c.deleted_at.is_(None))
    some = select(CAMPAIGN_CLIPS.c.clip_id).where(CAMPAIGN_CLIPS.c.campaign_id == campaign_id, lacking).limit(1)
    if connection.scalar(some) is not None:
        return _count(connection, campaign_id, *usable_pair_conditions())
    return with_files  # all clips are there, which the query above asked of each clip once


def _of_labeller(
    connection: Connection, request: AssignmentRequest, counts: Row[Any], dropped: Row[Any] | None, is_open: bool
) -> LabellerProgress:
    name = request.labeller
    query = select(VOTES.c.ms, VOTES.c.created_at).where(VOTES.c.campaign_id == request.campaign_id, VOTES.c.current)
    query = query.where(VOTES.c.labeller == name).order_by(VOTES.c.number.desc()).limit(PACE_VOTES)
    last = connection.execute(query).all()[::-1]
    times = [row.ms for row in last if row.ms is not None]
    return LabellerProgress(
        labeller=name,
        done=counts.done - (dropped.done if dropped else 0),
        skipped=counts.skipped - (dropped.skipped if dropped else 0),
        remaining=_remaining(connection, request) if is_open else 0,
        votes_per_hour=votes_per_hour([row.created_at for row in last]),
        median_ms=median(times) if times else None,
    )


def _remaining(connection: Connection, request: AssignmentRequest) -> int:
    """Count the labeller's open assignments and the pairs that can still be assigned to them."""
    if target_reached(connection, request):
        return 0
    needed = votes_needed(connection, request)
    most = LOOK_AHEAD if needed is None else min(needed, LOOK_AHEAD)
    place, free, left = shuffle_position(connection, request), 0, LOOK_AHEAD
    for part in (PAIRS.c.shuffle > place, PAIRS.c.shuffle <= place):  # in the order of assignment
        if left:
            window = select(PAIRS).where(*free_slot_conditions(request), part)
            pairs = window.order_by(PAIRS.c.shuffle, PAIRS.c.id).limit(left).subquery()
            assignable = case((and_(unseen_condition(pairs, request), *clips_exist_conditions(pairs)), 1))
            seen, more = connection.execute(select(func.count(), func.count(assignable)).select_from(pairs)).one()
            left, free = left - seen, free + more
    return len(open_assignments(connection, request)) + min(free, most)
