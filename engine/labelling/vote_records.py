"""Reading and writing votes in the database. Every function runs within the caller's transaction."""

from typing import Any

from sqlalchemy import Connection, Row, Select, select, update

from engine.clock import now
from engine.errors import ConfigError, StoreError
from engine.labelling.assignment import update_free_slots
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.votes import StoredVote, Vote
from engine.storage.schema import ASSIGNMENTS, CAMPAIGNS, LABELLERS, PAIRS, VOTES


def votes_query() -> Select[Any]:
    """Return the query for votes with their assignments and pairs."""
    columns = [ASSIGNMENTS.c[name] for name in ("pair_id", "left_clip", "is_repeat", "slot")]
    columns += [PAIRS.c[name] for name in ("prompt", "clip_a", "clip_b", "entrant_a", "entrant_b")]
    joined = VOTES.join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
    return select(VOTES, *columns).select_from(joined.join(PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id))


def stored_vote(row: Row[Any]) -> StoredVote:
    sides = [(row.clip_a, row.entrant_a), (row.clip_b, row.entrant_b)]
    left, right = sides if row.left_clip == row.clip_a else sides[::-1]
    names = ("pair_id", "labeller", "choice", "axes", "note", "ms", "client_uuid")
    vote = Vote(**{name: getattr(row, name) for name in names}, shown_left=row.left_clip)
    columns = ("number", "campaign_id", "assignment_id", "prompt", "is_repeat", "created_at", "ended_as", "ended_at")
    return StoredVote(
        vote=vote,
        left_clip=left[0],
        left_entrant=left[1],
        right_clip=right[0],
        right_entrant=right[1],
        **{name: getattr(row, name) for name in columns},
    )


def vote_by_uuid(connection: Connection, client_uuid: str) -> StoredVote | None:
    row = connection.execute(votes_query().where(VOTES.c.client_uuid == client_uuid)).one_or_none()
    return None if row is None else stored_vote(row)


def assignment_to_fill(connection: Connection, vote: Vote) -> StoredVote | Row[Any]:
    """Return the assignment that a vote belongs to, locked; or the stored vote, if it was sent before.

    The stored vote is looked up again after locking: a duplicate may have been stored while this call waited.
    """
    if stored := _sent_before(connection, vote):
        return stored
    assignment = _assignment_for(connection, vote)
    if stored := _sent_before(connection, vote):
        return stored
    check_axes(vote, _spec_of(connection, assignment.campaign_id))
    return assignment


def campaign_of_pair(connection: Connection, pair_id: str) -> str:
    """Return the campaign of a pair. Raises StoreError for an unknown pair."""
    campaign_id = connection.scalar(select(PAIRS.c.campaign_id).where(PAIRS.c.id == pair_id))
    if campaign_id is None:
        raise StoreError(f"There is no pair {pair_id}: load the page again.")
    return str(campaign_id)


def _sent_before(connection: Connection, vote: Vote) -> StoredVote | None:
    """Return the stored vote of this `client_uuid`. Raises StoreError when it is a different vote."""
    stored = vote_by_uuid(connection, vote.client_uuid)
    if stored is not None and (stored.vote.labeller, stored.vote.pair_id) != (vote.labeller, vote.pair_id):
        raise StoreError(f"The client_uuid {vote.client_uuid} belongs to another vote: load the page again.")
    return stored


def _assignment_for(connection: Connection, vote: Vote) -> Row[Any]:
    query = select(ASSIGNMENTS).where(
        ASSIGNMENTS.c.pair_id == vote.pair_id,
        ASSIGNMENTS.c.labeller == vote.labeller,
        ASSIGNMENTS.c.left_clip == vote.shown_left,
    )
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        raise StoreError(
            f"The pair {vote.pair_id} with clip {vote.shown_left} on the left was not assigned to "
            f"{vote.labeller[:40]!r}: only assigned pairs can be voted on; load the page again."
        )
    return row


def check_axes(vote: Vote, spec: CampaignSpec) -> None:
    """Raise ConfigError for an axis that the campaign does not have."""
    for axis in vote.axes:
        if axis not in spec.axes:
            axes = f"it has {', '.join(spec.axes)}" if spec.axes else "it has none"
            raise ConfigError(f"The campaign has no axis {axis[:40]!r} to judge: {axes}.")


def store_vote(connection: Connection, vote: Vote, assignment: Row[Any], slot: int | None) -> StoredVote:
    """Store a vote on a locked assignment, which takes the vote slot `slot` unless the vote is a skip."""
    moment = now()
    values = {name: getattr(vote, name) for name in ("client_uuid", "choice", "axes", "note", "ms")}
    connection.execute(
        VOTES.insert().values(
            **values,
            campaign_id=assignment.campaign_id,
            assignment_id=assignment.id,
            labeller=vote.labeller,
            current=True,
            created_at=moment,
        )
    )
    if vote.choice == "skip":  # a skip frees the slot: the pair may be assigned to another labeller
        slot = None
    query = update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == assignment.id)
    connection.execute(query.values(voted_at=moment, slot=slot))
    update_free_slots(connection, assignment.pair_id, assignment.slot, slot)
    count_vote(connection, assignment, vote.labeller, vote.choice)
    stored = vote_by_uuid(connection, vote.client_uuid)
    assert stored is not None
    return stored


def end_vote(connection: Connection, vote: StoredVote, ended_as: str) -> None:
    query = update(VOTES).where(VOTES.c.number == vote.number)
    connection.execute(query.values(current=None, ended_as=ended_as, ended_at=now()))
    count_vote(connection, vote, vote.vote.labeller, vote.vote.choice, by=-1)


def count_vote(connection: Connection, of: StoredVote | Row[Any], labeller: str, choice: str, by: int = 1) -> None:
    """Count a current vote of a labeller (`by` = 1), or one that no longer is (-1).

    `of` is the vote or its assignment.
    """
    skipped = choice == "skip"
    steps = {"done": by, "skipped": by * skipped, "counted": by * (not skipped and not of.is_repeat), "changes": 1}
    row = (LABELLERS.c.campaign_id == of.campaign_id, LABELLERS.c.labeller == labeller)
    connection.execute(
        update(LABELLERS).where(*row).values({name: LABELLERS.c[name] + step for name, step in steps.items()})
    )


def _spec_of(connection: Connection, campaign_id: str) -> CampaignSpec:
    return CampaignSpec(
        **connection.execute(select(CAMPAIGNS.c.spec).where(CAMPAIGNS.c.id == campaign_id)).scalar_one()
    )
