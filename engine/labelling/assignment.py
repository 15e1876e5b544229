"""Who is given which pair, with which clip on the left. Every function runs within the caller's transaction.

What must hold however many ask at once: a pair is given to `labellers_per_pair` people, never twice to one, except for
the hidden repeats, whose sides are swapped. The caller holds the campaign's lock; the constraints of the table stand
behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select, update

from engine.labelling.campaign_spec import CampaignSpec
from engine.seeds import seed_for
from engine.storage.schema import ASSIGNMENTS, CLIPS, PAIRS, VOTES

REPEAT_GAP = 5  # places between a pair and its repeat, at least: so few are remembered as such
ASSIGNMENT_TIMEOUT = timedelta(
    minutes=30
)  # the lease of a pair that was given: without a vote, it may go to somebody else


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A pair that a labeller was given. `place` counts what this labeller was given in the campaign, from 0."""

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
    """Somebody asks for pairs of a campaign at a moment."""

    campaign_id: str
    spec: CampaignSpec
    labeller: str
    at: datetime


def assignments() -> Select[Any]:
    """All assignments, with what their pairs say."""
    names = (ASSIGNMENTS.c[name] for name in ("id", "campaign_id", "pair_id", "labeller", "left_clip", "place"))
    return select(*names, ASSIGNMENTS.c.is_repeat, PAIRS.c.prompt, PAIRS.c.clip_a, PAIRS.c.clip_b).join(
        PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id
    )


def assignment_of(row: Row[Any]) -> Assignment:
    values = dict(row._mapping)
    clips = {values.pop("clip_a"), values.pop("clip_b")}
    (right,) = clips - {values["left_clip"]}
    return Assignment(**values, right_clip=right)


def open_assignments(connection: Connection, asking: AssignmentRequest) -> list[Assignment]:
    """What the labeller was given and has not voted on, in order."""
    query = assignments().where(
        ASSIGNMENTS.c.campaign_id == asking.campaign_id,
        ASSIGNMENTS.c.labeller == asking.labeller,
        ASSIGNMENTS.c.voted_at.is_(None),
        *has_both_clips(),
    )
    return [assignment_of(row) for row in connection.execute(query.order_by(ASSIGNMENTS.c.place))]


def has_both_clips() -> tuple[ColumnElement[bool], ...]:
    """Of pairs: both clips are in the library, and their files were there when last looked for."""
    there = [
        exists().where(CLIPS.c.id == clip, CLIPS.c.deleted_at.is_(None)) for clip in (PAIRS.c.clip_a, PAIRS.c.clip_b)
    ]
    return (PAIRS.c.gone_at.is_(None), *there)


def assign_next(connection: Connection, asking: AssignmentRequest, planned: Sequence[str]) -> str | None:
    """Give the labeller one more pair: a repeat where one is due, else the next of `planned`, else any by chance.

    Its id, "" for a repeat; None when there is none left.
    """
    place = _next_place(connection, asking)
    if _repeat_is_due(connection, asking, place) and _assign_repeat(connection, asking, place):
        return ""
    if votes_to_ask_for(connection, asking) == 0:
        return None
    pair = _free_pair(connection, asking, planned) or _given_up_pair(connection, asking)
    if pair is None:
        return None
    left = pair.clip_a if seed_for(asking.spec.seed, prompt=f"side {pair.id} {asking.labeller}") % 2 else pair.clip_b
    _insert(connection, asking, pair.id, place=place, left_clip=left, slot=free_slot(connection, pair.id, asking.spec))
    return str(pair.id)


def free_slot(connection: Connection, pair_id: str, spec: CampaignSpec) -> int | None:
    """The first of a pair's wanted votes that nobody was asked for; None when somebody was for each."""
    query = select(ASSIGNMENTS.c.slot).where(ASSIGNMENTS.c.pair_id == pair_id, ASSIGNMENTS.c.slot.is_not(None))
    taken = set(connection.scalars(query))
    return next((slot for slot in range(spec.labellers_per_pair) if slot not in taken), None)


def free_pairs(asking: AssignmentRequest) -> Select[Any]:
    """The pairs that the labeller could still be given, as they are."""
    seen = exists().where(ASSIGNMENTS.c.pair_id == PAIRS.c.id, ASSIGNMENTS.c.labeller == asking.labeller)
    return select(PAIRS).where(
        PAIRS.c.campaign_id == asking.campaign_id,
        *has_both_clips(),
        ~seen,
        slots_taken() < asking.spec.labellers_per_pair,
    )


def slots_taken() -> Any:
    """Of pairs: how many of the wanted votes somebody was asked for."""
    slots = ASSIGNMENTS.alias("slots")
    query = select(func.count()).where(slots.c.pair_id == PAIRS.c.id, slots.c.slot.is_not(None))
    return query.correlate(PAIRS).scalar_subquery()


def votes_to_ask_for(connection: Connection, asking: AssignmentRequest) -> int | None:
    """How many votes the campaign lacks of its target once all that was given is voted on; None without a target.

    What was given and is given up does not count: its labeller may have closed the page.
    """
    if asking.spec.target_votes is None:
        return None
    expected = or_(ASSIGNMENTS.c.voted_at.is_not(None), ASSIGNMENTS.c.created_at >= asking.at - ASSIGNMENT_TIMEOUT)
    query = select(func.count()).where(ASSIGNMENTS.c.campaign_id == asking.campaign_id, ASSIGNMENTS.c.slot.is_not(None))
    return max(0, asking.spec.target_votes - (connection.scalar(query.where(expected)) or 0))


def has_its_votes(connection: Connection, asking: AssignmentRequest) -> bool:
    """Whether the campaign's target is reached by votes that say something of a pair: no skips, no repeats."""
    if asking.spec.target_votes is None:
        return False
    joined = VOTES.join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
    query = select(func.count()).select_from(joined).where(VOTES.c.campaign_id == asking.campaign_id, VOTES.c.current)
    query = query.where(VOTES.c.choice != "skip", ASSIGNMENTS.c.is_repeat.is_(False))
    return (connection.scalar(query) or 0) >= asking.spec.target_votes


def mend_leases(connection: Connection, asking: AssignmentRequest) -> None:
    """Leases that begin later than now, the clock having been set back, begin now: they would not end otherwise."""
    open_ones = (ASSIGNMENTS.c.campaign_id == asking.campaign_id, ASSIGNMENTS.c.voted_at.is_(None))
    query = update(ASSIGNMENTS).where(*open_ones, ASSIGNMENTS.c.created_at > asking.at)
    connection.execute(query.values(created_at=asking.at))


def _next_place(connection: Connection, asking: AssignmentRequest) -> int:
    query = select(func.max(ASSIGNMENTS.c.place)).where(*_of_labeller(asking))
    last = connection.scalar(query)
    return 0 if last is None else last + 1


def _of_labeller(asking: AssignmentRequest) -> tuple[ColumnElement[bool], ...]:
    return ASSIGNMENTS.c.campaign_id == asking.campaign_id, ASSIGNMENTS.c.labeller == asking.labeller


def _repeat_is_due(connection: Connection, asking: AssignmentRequest, place: int) -> bool:
    """One place of each `1 / repeat_share` is a repeat, at a random position; one that could not be is still due."""
    if not asking.spec.repeat_share:
        return False
    block = round(1 / asking.spec.repeat_share)
    name = f"repeats {asking.campaign_id} {asking.labeller}"
    at = seed_for(asking.spec.seed, prompt=name, sample=place // block) % block
    due = place // block + (place % block >= at)
    given = connection.scalar(select(func.count()).where(*_of_labeller(asking), ASSIGNMENTS.c.is_repeat)) or 0
    return given < due


def _assign_repeat(connection: Connection, asking: AssignmentRequest, place: int) -> bool:
    """Show a pair again that the labeller judged a while ago, swapped; False when there is none."""
    again = ASSIGNMENTS.alias("again")
    seen_twice = exists().where(
        again.c.pair_id == ASSIGNMENTS.c.pair_id, again.c.labeller == ASSIGNMENTS.c.labeller, again.c.is_repeat
    )
    judged = and_(VOTES.c.assignment_id == ASSIGNMENTS.c.id, VOTES.c.current, VOTES.c.choice != "skip")
    query = (
        assignments()
        .join(VOTES, judged)
        .where(*_of_labeller(asking), ASSIGNMENTS.c.place <= place - REPEAT_GAP, ~seen_twice, *has_both_clips())
        .order_by(ASSIGNMENTS.c.place)
    )
    judged_pairs = [assignment_of(row) for row in connection.execute(query)]
    if not judged_pairs:
        return False
    one = judged_pairs[seed_for(asking.spec.seed, prompt=f"again {asking.labeller}", sample=place) % len(judged_pairs)]
    _insert(connection, asking, one.pair_id, place=place, left_clip=one.right_clip, is_repeat=True)
    return True


def _free_pair(connection: Connection, asking: AssignmentRequest, planned: Sequence[str]) -> Row[Any] | None:
    free = free_pairs(asking)
    if planned:
        rows = {row.id: row for row in connection.execute(free.where(PAIRS.c.id.in_(list(planned))))}
        if first := next((rows[pair_id] for pair_id in planned if pair_id in rows), None):
            return first
    return connection.execute(free.order_by(PAIRS.c.shuffle, PAIRS.c.id).limit(1)).one_or_none()


def _given_up_pair(connection: Connection, asking: AssignmentRequest) -> Row[Any] | None:
    """Take over a pair that somebody else was shown long ago and has not voted on; a late vote of theirs counts too."""
    mine = ASSIGNMENTS.alias("mine")
    seen = exists().where(mine.c.pair_id == PAIRS.c.id, mine.c.labeller == asking.labeller)
    query = (
        select(PAIRS, ASSIGNMENTS.c.id.label("assignment_id"))
        .join(ASSIGNMENTS, ASSIGNMENTS.c.pair_id == PAIRS.c.id)
        .where(
            ASSIGNMENTS.c.campaign_id == asking.campaign_id, ASSIGNMENTS.c.slot.is_not(None), ~seen, *has_both_clips()
        )
        .where(ASSIGNMENTS.c.voted_at.is_(None), ASSIGNMENTS.c.created_at < asking.at - ASSIGNMENT_TIMEOUT)
        .order_by(ASSIGNMENTS.c.created_at)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        connection.execute(update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == row.assignment_id).values(slot=None))
    return row


def _insert(
    connection: Connection,
    asking: AssignmentRequest,
    pair_id: str,
    *,
    place: int,
    left_clip: str,
    slot: int | None = None,
    is_repeat: bool = False,
) -> None:
    values = {"campaign_id": asking.campaign_id, "pair_id": pair_id, "labeller": asking.labeller, "place": place}
    values |= {"left_clip": left_clip, "slot": slot, "is_repeat": is_repeat, "created_at": asking.at}
    connection.execute(ASSIGNMENTS.insert().values(**values))
