"""Assignment of pairs to labellers, with a side for each clip. Runs within the caller's transaction.

Invariants under concurrent requests: a pair is assigned to `labellers_per_pair` labellers, and never twice to the same
one, except for hidden repeats, whose sides are swapped. The caller holds the campaign's lock; constraints of the table
enforce the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    exists,
    func,
    literal_column,
    select,
    update,
)

from engine.labelling.campaign_spec import CampaignSpec
from engine.seeds import seed_for
from engine.storage.database import INSERTS
from engine.storage.library import Library
from engine.storage.schema import ASSIGNMENTS, CLIPS, LABELLERS, PAIRS, VOTES

REPEAT_GAP = 5  # minimum assignments between a pair and its repeat, so that few repeats are recognised
HAS_FREE_SLOT = PAIRS.c.free > literal_column("0")  # a partial index is only used for a constant
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


def was_assigned(store: Library, labeller: str, assignment: str) -> bool:
    """Return whether `assignment`, its number in digits, belongs to the labeller in any campaign.

    A labeller may view the clips of pairs that were assigned to them.
    """
    query = select(ASSIGNMENTS.c.id).where(ASSIGNMENTS.c.id == int(assignment), ASSIGNMENTS.c.labeller == labeller)
    with store.database.reading() as connection:
        return connection.execute(query).first() is not None


def open_assignments(connection: Connection, request: AssignmentRequest) -> list[Assignment]:
    """Return the labeller's assignments without a vote, in order."""
    query = assignments().where(
        ASSIGNMENTS.c.campaign_id == request.campaign_id,
        ASSIGNMENTS.c.labeller == request.labeller,
        ASSIGNMENTS.c.voted_at.is_(None),
        *usable_pair_conditions(),
    )
    return [assignment_of(row) for row in connection.execute(query.order_by(ASSIGNMENTS.c.place))]


def usable_pair_conditions() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions on pairs in use: both clips are in the library and no file was found missing."""
    return (PAIRS.c.gone_at.is_(None), PAIRS.c.dropped_at.is_(None), *clips_exist_conditions(PAIRS))


def clips_exist_conditions(pairs: FromClause) -> list[ColumnElement[bool]]:
    return [
        exists().where(CLIPS.c.id == clip, CLIPS.c.deleted_at.is_(None)) for clip in (pairs.c.clip_a, pairs.c.clip_b)
    ]


def unseen_condition(pairs: FromClause, request: AssignmentRequest) -> ColumnElement[bool]:
    """Return the condition on pairs that were never assigned to the labeller."""
    return ~exists().where(ASSIGNMENTS.c.pair_id == pairs.c.id, ASSIGNMENTS.c.labeller == request.labeller)


def assign_next(connection: Connection, request: AssignmentRequest, scheduled: Sequence[str]) -> str | None:
    """Assign one more pair: a repeat when one is due, else the next of `scheduled`, else a random one.

    Returns the pair's id, "" for a repeat, None when no pair is left.
    """
    place = _next_place(connection, request)
    if _repeat_is_due(connection, request, place) and _assign_repeat(connection, request, place):
        return ""
    if votes_needed(connection, request) == 0:
        return None
    pair = _pair_with_free_slot(connection, request, scheduled) or _take_over_expired(connection, request)
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
    """Return the slot for a changed vote: its own, or a free one after a skip; None for a repeat."""
    if assignment.slot is not None or assignment.is_repeat:
        return assignment.slot
    return free_slot(connection, assignment.pair_id, spec)


def update_free_slots(connection: Connection, pair_id: str, before: int | None, after: int | None) -> None:
    """Count the free slots of a pair after an assignment's slot changed.

    Added to the stored number: two requests that change it at once on PostgreSQL both count.
    """
    if step := (after is None) - (before is None):
        connection.execute(update(PAIRS).where(PAIRS.c.id == pair_id).values(free=PAIRS.c.free + step))


def free_pairs_query(request: AssignmentRequest) -> Select[Any]:
    """Return the query for pairs with a free slot that the labeller has not seen."""
    return select(PAIRS).where(
        *free_slot_conditions(request), *usable_pair_conditions(), unseen_condition(PAIRS, request)
    )


def free_slot_conditions(request: AssignmentRequest) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions on pairs in use with a free slot, in the words of their index."""
    in_use = (PAIRS.c.gone_at.is_(None), PAIRS.c.dropped_at.is_(None))
    return (PAIRS.c.campaign_id == request.campaign_id, HAS_FREE_SLOT, *in_use)


def votes_needed(connection: Connection, request: AssignmentRequest) -> int | None:
    """Return the number of further assignments the campaign's target needs; None without a target.

    Open assignments count as votes, unless they have expired: their labeller may have closed the page.
    """
    if request.spec.target_votes is None:
        return None
    awaited = select(func.count()).where(
        ASSIGNMENTS.c.campaign_id == request.campaign_id,
        ASSIGNMENTS.c.voted_at.is_(None),
        ASSIGNMENTS.c.slot.is_not(None),
        ASSIGNMENTS.c.created_at >= request.at - ASSIGNMENT_TIMEOUT,
    )
    return max(0, request.spec.target_votes - _counted_votes(connection, request) - (connection.scalar(awaited) or 0))


def target_reached(connection: Connection, request: AssignmentRequest) -> bool:
    """Return whether the counted votes, without skips and repeats, reach the campaign's target."""
    if request.spec.target_votes is None:
        return False
    return _counted_votes(connection, request) >= request.spec.target_votes


def _counted_votes(connection: Connection, request: AssignmentRequest) -> int:
    query = select(func.sum(LABELLERS.c.counted)).where(LABELLERS.c.campaign_id == request.campaign_id)
    return connection.scalar(query) or 0


def clamp_future_assignments(connection: Connection, request: AssignmentRequest) -> None:
    """Date open assignments of the future now.

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
    last = place - REPEAT_GAP
    if last < 0:
        return False
    query = assignments().join(VOTES, judged).where(*_of_labeller(request), ~seen_twice, *usable_pair_conditions())
    query = query.order_by(ASSIGNMENTS.c.place).limit(1)
    start = seed_for(request.spec.seed, prompt=f"again {request.labeller}", sample=place) % (last + 1)
    for places in (ASSIGNMENTS.c.place.between(start, last), ASSIGNMENTS.c.place < start):
        if row := connection.execute(query.where(places)).one_or_none():
            first = assignment_of(row)
            _insert(connection, request, first.pair_id, place=place, left_clip=first.right_clip, is_repeat=True)
            return True
    return False


def _pair_with_free_slot(
    connection: Connection, request: AssignmentRequest, scheduled: Sequence[str]
) -> Row[Any] | None:
    free = free_pairs_query(request)
    if scheduled:
        rows = {row.id: row for row in connection.execute(free.where(PAIRS.c.id.in_(list(scheduled))))}
        if first := next((rows[pair_id] for pair_id in scheduled if pair_id in rows), None):
            return first
    # On from the labeller's last pair, since most before it were shown to them; those that became free again come last.
    free = free.order_by(PAIRS.c.shuffle, PAIRS.c.id).limit(1)
    ahead = connection.execute(free.where(PAIRS.c.shuffle > shuffle_position(connection, request))).one_or_none()
    return ahead or connection.execute(free).one_or_none()


def shuffle_position(connection: Connection, request: AssignmentRequest) -> float:
    """Return the place of the labeller's last pair in `PAIRS.shuffle`, or -1."""
    shown = select(PAIRS.c.shuffle).join(ASSIGNMENTS, ASSIGNMENTS.c.pair_id == PAIRS.c.id)
    shown = shown.where(*_of_labeller(request), ASSIGNMENTS.c.is_repeat.is_(False))
    last = connection.scalar(shown.order_by(ASSIGNMENTS.c.place.desc()).limit(1))
    return -1.0 if last is None else float(last)


def _take_over_expired(connection: Connection, request: AssignmentRequest) -> Row[Any] | None:
    """Take over a pair from an expired assignment of another labeller.

    A late vote of that labeller is still accepted.
    """
    mine = ASSIGNMENTS.alias("mine")
    seen = exists().where(mine.c.pair_id == PAIRS.c.id, mine.c.labeller == request.labeller)
    query = (
        select(PAIRS, ASSIGNMENTS.c.id.label("assignment_id"), ASSIGNMENTS.c.slot)
        .join(ASSIGNMENTS, ASSIGNMENTS.c.pair_id == PAIRS.c.id)
        .where(ASSIGNMENTS.c.campaign_id == request.campaign_id, ASSIGNMENTS.c.slot.is_not(None), ~seen)
        .where(*usable_pair_conditions())
        .where(ASSIGNMENTS.c.voted_at.is_(None), ASSIGNMENTS.c.created_at < request.at - ASSIGNMENT_TIMEOUT)
        .order_by(ASSIGNMENTS.c.created_at)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        connection.execute(update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.assignment_id).values(slot=None))
        update_free_slots(connection, row.id, row.slot, None)
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
    update_free_slots(connection, pair_id, None, slot)
    ensure_labeller_row(connection, request.campaign_id, request.labeller)


def ensure_labeller_row(connection: Connection, campaign_id: str, labeller: str) -> None:
    """Begin the counts of a labeller in a campaign, if they are new."""
    row = INSERTS[connection.dialect.name](LABELLERS).values(campaign_id=campaign_id, labeller=labeller)
    connection.execute(row.on_conflict_do_nothing())
