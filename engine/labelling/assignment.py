"""Assignment of pairs to labellers, with a side for each clip. Runs within the caller's transaction.

Invariants under concurrent requests: a pair is assigned to `labellers_per_pair` labellers, and never twice to the same
one, except for hidden repeats, whose sides are swapped. The caller holds the campaign's lock; constraints of the table
enforce the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select, update

from engine.labelling.campaign_spec import CampaignSpec
from engine.seeds import seed_for
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS, CLIPS, PAIRS, VOTES

REPEAT_GAP = 5  # minimum places between a pair and its repeat, so that few repeats are recognised
ASSIGNMENT_TIMEOUT = timedelta(minutes=30)  # without a vote until then, the pair may be assigned to another labeller


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A pair assigned to a labeller. `place` counts the labeller's assignments in the campaign, from 0."""

    id: int
    campaign_id: str
    pair_id: str
    labeller: str
    prompt: str
    left_clip: str
    right_clip: str
    is_repeat: bool
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRequest:
    """A labeller's request for pairs of a campaign, at the time `at`."""

    campaign_id: str
    spec: CampaignSpec
    labeller: str
    at: datetime


def assignments() -> Select[Any]:
    """Return the query for assignments with the prompt and clips of their pairs."""
    names = (ASSIGNMENTS.c[name] for name in ("id", "campaign_id", "pair_id", "labeller", "left_clip", "place"))
    return select(*names, ASSIGNMENTS.c.is_repeat, PAIRS.c.prompt, PAIRS.c.clip_a, PAIRS.c.clip_b).join(
        PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id
    )


def assignment_of(row: Row[Any]) -> Assignment:
    values = dict(row._mapping)
    clips = {values.pop("clip_a"), values.pop("clip_b")}
    (right,) = clips - {values["left_clip"]}
    return Assignment(**values, right_clip=right)


def was_assigned(store: Library, labeller: str, showing: str) -> bool:
    """Return whether `showing`, an assignment's number in digits, belongs to the labeller in any campaign.

    A labeller may view the clips of pairs that were assigned to them.
    """
    query = select(ASSIGNMENTS.c.id).where(ASSIGNMENTS.c.id == int(showing), ASSIGNMENTS.c.labeller == labeller)
    with store.database.reading() as connection:
        return connection.execute(query).first() is not None


def open_assignments(connection: Connection, request: AssignmentRequest) -> list[Assignment]:
    """Return the labeller's assignments without a vote, in order."""
    query = assignments().where(
        ASSIGNMENTS.c.campaign_id == request.campaign_id,
        ASSIGNMENTS.c.labeller == request.labeller,
        ASSIGNMENTS.c.voted_at.is_(None),
        *has_both_clips(),
    )
    return [assignment_of(row) for row in connection.execute(query.order_by(ASSIGNMENTS.c.place))]


def has_both_clips() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions on pairs in use: both clips are in the library and no file was found missing."""
    in_library = [
        exists().where(CLIPS.c.id == clip, CLIPS.c.deleted_at.is_(None)) for clip in (PAIRS.c.clip_a, PAIRS.c.clip_b)
    ]
    return (PAIRS.c.gone_at.is_(None), PAIRS.c.dropped_at.is_(None), *in_library)


def assign_next(connection: Connection, request: AssignmentRequest, scheduled: Sequence[str]) -> str | None:
    """Assign one more pair: a repeat when one is due, else the next of `scheduled`, else a random one.

    Returns the pair's id, "" for a repeat, None when no pair is left.
    """
    place = _next_place(connection, request)
    if _repeat_is_due(connection, request, place) and _assign_repeat(connection, request, place):
        return ""
    if votes_needed(connection, request) == 0:
        return None
    pair = _unassigned_pair(connection, request, scheduled) or _expired_pair(connection, request)
    if pair is None:
        return None
    left = pair.clip_a if seed_for(request.spec.seed, prompt=f"side {pair.id} {request.labeller}") % 2 else pair.clip_b
    _insert(
        connection, request, pair.id, place=place, left_clip=left, slot=free_slot(connection, pair.id, request.spec)
    )
    return str(pair.id)


def free_slot(connection: Connection, pair_id: str, spec: CampaignSpec) -> int | None:
    """Return the first vote slot of a pair without an assignment; None when all slots are taken."""
    query = select(ASSIGNMENTS.c.slot).where(ASSIGNMENTS.c.pair_id == pair_id, ASSIGNMENTS.c.slot.is_not(None))
    taken = set(connection.scalars(query))
    return next((slot for slot in range(spec.labellers_per_pair) if slot not in taken), None)


def slot_for(connection: Connection, assignment: Row[Any], spec: CampaignSpec) -> int | None:
    """Return the slot of an assignment whose vote changes: its own, or a free one after a skip; None for a repeat."""
    if assignment.slot is not None or assignment.is_repeat:
        return assignment.slot
    return free_slot(connection, assignment.pair_id, spec)


def free_pairs(request: AssignmentRequest) -> Select[Any]:
    """Return the query for pairs with a free slot that the labeller has not seen."""
    seen = exists().where(ASSIGNMENTS.c.pair_id == PAIRS.c.id, ASSIGNMENTS.c.labeller == request.labeller)
    return select(PAIRS).where(
        PAIRS.c.campaign_id == request.campaign_id,
        *has_both_clips(),
        ~seen,
        slots_taken() < request.spec.labellers_per_pair,
    )


def slots_taken() -> Any:
    """Return the number of assigned vote slots, as a subquery on pairs."""
    slots = ASSIGNMENTS.alias("slots")
    query = select(func.count()).where(slots.c.pair_id == PAIRS.c.id, slots.c.slot.is_not(None))
    return query.correlate(PAIRS).scalar_subquery()


def votes_needed(connection: Connection, request: AssignmentRequest) -> int | None:
    """Return the number of further assignments the campaign's target needs; None without a target.

    Open assignments count as votes, unless they have expired: their labeller may have closed the page.
    """
    if request.spec.target_votes is None:
        return None
    expected = or_(ASSIGNMENTS.c.voted_at.is_not(None), ASSIGNMENTS.c.created_at >= request.at - ASSIGNMENT_TIMEOUT)
    query = select(func.count()).where(
        ASSIGNMENTS.c.campaign_id == request.campaign_id, ASSIGNMENTS.c.slot.is_not(None)
    )
    return max(0, request.spec.target_votes - (connection.scalar(query.where(expected)) or 0))


def target_reached(connection: Connection, request: AssignmentRequest) -> bool:
    """Return whether the counted votes, without skips and repeats, reach the campaign's target."""
    if request.spec.target_votes is None:
        return False
    joined = VOTES.join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
    query = select(func.count()).select_from(joined).where(VOTES.c.campaign_id == request.campaign_id, VOTES.c.current)
    query = query.where(VOTES.c.choice != "skip", ASSIGNMENTS.c.is_repeat.is_(False))
    return (connection.scalar(query) or 0) >= request.spec.target_votes


def repair_leases(connection: Connection, request: AssignmentRequest) -> None:
    """Let leases that begin in the future begin now.

    They result from a clock that was set back, and would otherwise expire too late.
    """
    is_open = (ASSIGNMENTS.c.campaign_id == request.campaign_id, ASSIGNMENTS.c.voted_at.is_(None))
    query = update(ASSIGNMENTS).where(*is_open, ASSIGNMENTS.c.created_at > request.at)
    connection.execute(query.values(created_at=request.at))


def _next_place(connection: Connection, request: AssignmentRequest) -> int:
    query = select(func.max(ASSIGNMENTS.c.place)).where(*_of_labeller(request))
    last = connection.scalar(query)
    return 0 if last is None else last + 1


def _of_labeller(request: AssignmentRequest) -> tuple[ColumnElement[bool], ...]:
    return ASSIGNMENTS.c.campaign_id == request.campaign_id, ASSIGNMENTS.c.labeller == request.labeller


def _repeat_is_due(connection: Connection, request: AssignmentRequest, place: int) -> bool:
    """Return whether the labeller's next pair should be a repeat.

    One of every `1 / repeat_share` places is a repeat, at a random position. A repeat that could not be made stays due.
    """
    if not request.spec.repeat_share:
        return False
    block = round(1 / request.spec.repeat_share)
    name = f"repeats {request.campaign_id} {request.labeller}"
    at = seed_for(request.spec.seed, prompt=name, sample=place // block) % block
    due = place // block + (place % block >= at)
    repeats = connection.scalar(select(func.count()).where(*_of_labeller(request), ASSIGNMENTS.c.is_repeat)) or 0
    return repeats < due


def _assign_repeat(connection: Connection, request: AssignmentRequest, place: int) -> bool:
    """Assign a pair again that the labeller judged a while ago, sides swapped; False when there is none."""
    again = ASSIGNMENTS.alias("again")
    seen_twice = exists().where(
        again.c.pair_id == ASSIGNMENTS.c.pair_id, again.c.labeller == ASSIGNMENTS.c.labeller, again.c.is_repeat
    )
    judged = and_(VOTES.c.assignment_id == ASSIGNMENTS.c.id, VOTES.c.current, VOTES.c.choice != "skip")
    query = (
        assignments()
        .join(VOTES, judged)
        .where(*_of_labeller(request), ASSIGNMENTS.c.place <= place - REPEAT_GAP, ~seen_twice, *has_both_clips())
        .order_by(ASSIGNMENTS.c.place)
    )
    judged_pairs = [assignment_of(row) for row in connection.execute(query)]
    if not judged_pairs:
        return False
    first = judged_pairs[
        seed_for(request.spec.seed, prompt=f"again {request.labeller}", sample=place) % len(judged_pairs)
    ]
    _insert(connection, request, first.pair_id, place=place, left_clip=first.right_clip, is_repeat=True)
    return True


def _unassigned_pair(connection: Connection, request: AssignmentRequest, scheduled: Sequence[str]) -> Row[Any] | None:
    free = free_pairs(request)
    if scheduled:
        rows = {row.id: row for row in connection.execute(free.where(PAIRS.c.id.in_(list(scheduled))))}
        if first := next((rows[pair_id] for pair_id in scheduled if pair_id in rows), None):
            return first
    return connection.execute(free.order_by(PAIRS.c.shuffle, PAIRS.c.id).limit(1)).one_or_none()


def _expired_pair(connection: Connection, request: AssignmentRequest) -> Row[Any] | None:
    """Take over a pair from an expired assignment of another labeller.

    A late vote of that labeller is still accepted.
    """
    mine = ASSIGNMENTS.alias("mine")
    seen = exists().where(mine.c.pair_id == PAIRS.c.id, mine.c.labeller == request.labeller)
    query = (
        select(PAIRS, ASSIGNMENTS.c.id.label("assignment_id"))
        .join(ASSIGNMENTS, ASSIGNMENTS.c.pair_id == PAIRS.c.id)
        .where(
            ASSIGNMENTS.c.campaign_id == request.campaign_id, ASSIGNMENTS.c.slot.is_not(None), ~seen, *has_both_clips()
        )
        .where(ASSIGNMENTS.c.voted_at.is_(None), ASSIGNMENTS.c.created_at < request.at - ASSIGNMENT_TIMEOUT)
        .order_by(ASSIGNMENTS.c.created_at)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        connection.execute(update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.assignment_id).values(slot=None))
    return row


def _insert(
    connection: Connection,
    request: AssignmentRequest,
    pair_id: str,
    *,
    place: int,
    left_clip: str,
    slot: int | None = None,
    is_repeat: bool = False,
) -> None:
    values = {"campaign_id": request.campaign_id, "pair_id": pair_id, "labeller": request.labeller, "place": place}
    values |= {"left_clip": left_clip, "slot": slot, "is_repeat": is_repeat, "created_at": request.at}
    connection.execute(ASSIGNMENTS.insert().values(**values))
