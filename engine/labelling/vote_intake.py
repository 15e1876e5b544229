"""Store a table of votes: an assignment and a vote per row, within the caller's transaction.

Every row is checked against the state before anything is written, so a rejected row has no effect.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, select, update

from engine.errors import DailiesError, StoreError
from engine.labelling.assignment import ensure_labeller_row
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.vote_records import check_axes
from engine.labelling.votes import Vote
from engine.storage.database import pieces
from engine.storage.schema import ASSIGNMENTS, LABELLERS, PAIRS, VOTES

NAMESPACE = uuid.UUID("8a6a3f0c-7d0f-4b54-9a7e-64a1c2d0b6f3")  # of derived client_uuids


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingVote:
    """One row of a table.

    `is_repeat` is None if the table does not specify it; `voted_at` is the time of the vote.
    """

    vote: Vote
    is_repeat: bool | None
    voted_at: datetime


class _AssignmentRow:
    """An assignment that is stored, or still to be inserted (`id` is None). `values` are its columns."""

    def __init__(self, id: int | None, values: dict[str, Any]) -> None:
        self.id, self.values, self.changed = id, values, False

    @property
    def is_open(self) -> bool:
        return self.values["voted_at"] is None


class _State:
    """Stored state of a campaign, updated with each accepted row.

    `owners` maps `client_uuid` to campaign id.
    """

    def __init__(self, campaign_id: str, spec: CampaignSpec, owners: dict[str, str]) -> None:
        self.campaign_id, self.spec, self.owners = campaign_id, spec, owners
        self.assignments: dict[tuple[str, str], list[_AssignmentRow]] = defaultdict(list)
        self.places: dict[str, int] = {}
        self.slots: dict[str, set[int]] = defaultdict(set)
        self.accepted: list[tuple[_AssignmentRow, IncomingVote]] = []


def store_votes(
    connection: Connection, campaign_id: str, spec: CampaignSpec, rows: Sequence[IncomingVote]
) -> list[bool | DailiesError]:
    """Store the votes.

    The result per row is True (stored), False (stored before) or the error that rejected it. A vote whose `client_uuid`
    belongs to another campaign of this database gets a derived one. The caller holds the campaign's lock.
    """
    state = _read(connection, campaign_id, spec, rows)
    outcomes: list[bool | DailiesError] = []
    for row in rows:
        try:
            outcomes.append(_accept(state, row))
        except DailiesError as error:
            outcomes.append(error)
    _write(connection, state)
    _count(connection, state)
    return outcomes


def derived_uuid(campaign_id: str, client_uuid: str) -> str:
    """Return the `client_uuid` of a vote copied into this campaign; the same at each import."""
    return str(uuid.uuid5(NAMESPACE, f"{campaign_id} {client_uuid}"))


def _accept(state: _State, row: IncomingVote) -> bool:
    """Add one row to the state. Raises DailiesError, and then the state is unchanged."""
    vote = row.vote
    if state.owners.get(vote.client_uuid, state.campaign_id) != state.campaign_id:
        vote = replace(vote, client_uuid=derived_uuid(state.campaign_id, vote.client_uuid))
    if vote.client_uuid in state.owners:
        return False
    check_axes(vote, state.spec)
    assignment = _row_for(state, vote, row)
    if vote.choice == "skip":  # a skip frees the slot: the pair may be assigned to another labeller
        state.slots[vote.pair_id].discard(assignment.values["slot"])
        assignment.values["slot"] = None
    assignment.values["voted_at"] = row.voted_at
    assignment.changed = True
    state.owners[vote.client_uuid] = state.campaign_id
    state.accepted.append((assignment, replace(row, vote=vote)))
    return True


def _row_for(state: _State, vote: Vote, row: IncomingVote) -> _AssignmentRow:
    """Return the assignment that the vote fills: an existing one, or a new one."""
    existing = state.assignments[vote.pair_id, vote.labeller]
    same = next((assignment for assignment in existing if assignment.values["left_clip"] == vote.shown_left), None)
    if same is not None and not same.is_open:
        raise StoreError(f"{vote.labeller[:40]} has already voted on the pair {vote.pair_id} with these sides.")
    firsts = [assignment for assignment in existing if assignment is not same and not assignment.values["is_repeat"]]
    is_repeat = any(not first.is_open for first in firsts) or bool(row.is_repeat)
    if row.is_repeat is None:
        is_repeat = bool(firsts) or (same is not None and same.values["is_repeat"])
    if not is_repeat:
        for first in firsts:  # assigned here but not judged yet: a later vote on it is the second answer
            _make_repeat(state, first)
    if same is None:
        return _new_row(state, vote, row, is_repeat=is_repeat)
    if is_repeat and not same.values["is_repeat"]:
        _make_repeat(state, same)
    elif not is_repeat and same.values["is_repeat"]:
        same.values |= {"is_repeat": False, "slot": _free_slot(state, vote.pair_id)}
    return same


def _make_repeat(state: _State, assignment: _AssignmentRow) -> None:
    state.slots[assignment.values["pair_id"]].discard(assignment.values["slot"])
    assignment.values |= {"is_repeat": True, "slot": None}
    assignment.changed = True


def _new_row(state: _State, vote: Vote, row: IncomingVote, *, is_repeat: bool) -> _AssignmentRow:
    place = state.places.get(vote.labeller, -1) + 1
    state.places[vote.labeller] = place
    slot = None if is_repeat or vote.choice == "skip" else _free_slot(state, vote.pair_id)
    values = {"campaign_id": state.campaign_id, "pair_id": vote.pair_id, "labeller": vote.labeller, "place": place}
    values |= {"left_clip": vote.shown_left, "slot": slot, "is_repeat": is_repeat}
    assignment = _AssignmentRow(id=None, values={**values, "created_at": row.voted_at, "voted_at": None})
    state.assignments[vote.pair_id, vote.labeller].append(assignment)
    return assignment


def _free_slot(state: _State, pair_id: str) -> int | None:
    taken = state.slots[pair_id]
    slot = next((slot for slot in range(state.spec.labellers_per_pair) if slot not in taken), None)
    if slot is not None:
        taken.add(slot)
    return slot


def _read(connection: Connection, campaign_id: str, spec: CampaignSpec, rows: Iterable[IncomingVote]) -> _State:
    state = _State(campaign_id, spec, _owners(connection, campaign_id, rows))
    query = select(ASSIGNMENTS).where(ASSIGNMENTS.c.campaign_id == campaign_id).order_by(ASSIGNMENTS.c.place)
    for row in connection.execute(query):
        values = dict(row._mapping)
        assignment = _AssignmentRow(id=values.pop("id"), values=values)
        state.assignments[row.pair_id, row.labeller].append(assignment)
        state.places[row.labeller] = row.place
        if row.slot is not None:
            state.slots[row.pair_id].add(row.slot)
    return state


def _owners(connection: Connection, campaign_id: str, rows: Iterable[IncomingVote]) -> dict[str, str]:
    given = {row.vote.client_uuid for row in rows}
    candidates = sorted(given | {derived_uuid(campaign_id, client_uuid) for client_uuid in given})
    owners: dict[str, str] = {}
    for batch in pieces(candidates):
        query = select(VOTES.c.client_uuid, VOTES.c.campaign_id).where(VOTES.c.client_uuid.in_(batch))
        owners |= {row.client_uuid: row.campaign_id for row in connection.execute(query)}
    return owners


def _write(connection: Connection, state: _State) -> None:
    """Write the changed assignments and the accepted votes.

    Slots of stored assignments are cleared first, since one assignment may take over the slot of another.
    """
    changed = [assignment for group in state.assignments.values() for assignment in group if assignment.changed]
    stored = [assignment for assignment in changed if assignment.id is not None]
    names = ("slot", "is_repeat", "voted_at")
    change = update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == bindparam("of"))
    change = change.values({name: bindparam(f"new_{name}") for name in names})
    for clear in (True, False):
        rows = [{"of": item.id, **{f"new_{name}": item.values[name] for name in names}} for item in stored]
        if rows:
            connection.execute(change, [{**row, "new_slot": None} for row in rows] if clear else rows)
    new = [assignment for assignment in changed if assignment.id is None]
    if new:
        insert = ASSIGNMENTS.insert().returning(ASSIGNMENTS.c.id, sort_by_parameter_order=True)
        numbers = connection.scalars(insert, [assignment.values for assignment in new])
        for assignment, number in zip(new, numbers, strict=True):
            assignment.id = number
    if state.accepted:
        connection.execute(VOTES.insert(), [_vote_row(state.campaign_id, *accepted) for accepted in state.accepted])


def _vote_row(campaign_id: str, assignment: _AssignmentRow, row: IncomingVote) -> dict[str, Any]:
    values = {name: getattr(row.vote, name) for name in ("client_uuid", "choice", "axes", "note", "ms")}
    columns = {"campaign_id": campaign_id, "assignment_id": assignment.id, "current": True, "created_at": row.voted_at}
    return {**values, **columns, "labeller": row.vote.labeller}


def _count(connection: Connection, state: _State) -> None:
    """Count the votes of all labellers and the free slots of all pairs again.

    The rows are locked first: what is voted meanwhile is either counted here, or added afterwards by the vote itself.
    """
    for table, name in ((PAIRS, PAIRS.c.id), (LABELLERS, LABELLERS.c.labeller)):
        locked = select(name).where(table.c.campaign_id == state.campaign_id).order_by(name).with_for_update()
        connection.execute(locked).all()
    taken = select(func.count()).where(ASSIGNMENTS.c.pair_id == PAIRS.c.id, ASSIGNMENTS.c.slot.is_not(None))
    of_pairs = update(PAIRS).where(PAIRS.c.campaign_id == state.campaign_id)
    free = state.spec.labellers_per_pair - taken.correlate(PAIRS).scalar_subquery()
    connection.execute(of_pairs.values(free=free))
    for labeller in state.places:
        ensure_labeller_row(connection, state.campaign_id, labeller)
    skipped = VOTES.c.choice == "skip"
    joined = VOTES.join(ASSIGNMENTS, ASSIGNMENTS.c.id == VOTES.c.assignment_id)
    counts = {
        "done": func.count(),
        "skipped": func.count(case((skipped, 1))),
        "counted": func.count(case((and_(~skipped, ~ASSIGNMENTS.c.is_repeat), 1))),
    }
    query = select(VOTES.c.labeller, *(count.label(name) for name, count in counts.items())).select_from(joined)
    query = query.where(VOTES.c.campaign_id == state.campaign_id, VOTES.c.current).group_by(VOTES.c.labeller)
    for row in connection.execute(query).all():
        of = (LABELLERS.c.campaign_id == state.campaign_id, LABELLERS.c.labeller == row.labeller)
        values = {name: getattr(row, name) for name in counts}
        connection.execute(
            update(LABELLERS).where(*of).values(**values, changes=LABELLERS.c.changes + len(state.accepted))
        )
