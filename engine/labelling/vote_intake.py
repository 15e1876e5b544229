"""Storing a table of votes: each row gets its assignment and its vote, all within the caller's transaction.

Every row is checked against the state before anything is written, so a row that is refused leaves nothing behind.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from engine.errors import DailiesError, StoreError
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.vote_records import check_axes
from engine.labelling.votes import Vote
from engine.storage.schema import ASSIGNMENTS, VOTES

NAMESPACE = uuid.UUID("8a6a3f0c-7d0f-4b54-9a7e-64a1c2d0b6f3")  # of the client_uuids that are derived
AT_ONCE = 500  # values of one SQL "IN"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingVote:
    """One row of a table. `is_repeat` is None where the table does not say; `voted_at` is when the vote was cast."""

    vote: Vote
    is_repeat: bool | None
    voted_at: datetime


class _Showing:
    """An assignment, stored (`id`) or still to be inserted. `values` are its columns."""

    def __init__(self, id: int | None, values: dict[str, Any]) -> None:
        self.id, self.values, self.changed = id, values, False

    @property
    def is_open(self) -> bool:
        return self.values["voted_at"] is None


class _State:
    """What is stored of one campaign, updated as rows are taken. `owners` has the campaign of each `client_uuid`."""

    def __init__(self, campaign_id: str, spec: CampaignSpec, owners: dict[str, str]) -> None:
        self.campaign_id, self.spec, self.owners = campaign_id, spec, owners
        self.showings: dict[tuple[str, str], list[_Showing]] = defaultdict(list)
        self.places: dict[str, int] = {}
        self.slots: dict[str, set[int]] = defaultdict(set)
        self.taken: list[tuple[_Showing, IncomingVote]] = []


def take_votes(
    connection: Connection, campaign_id: str, spec: CampaignSpec, rows: Sequence[IncomingVote]
) -> list[bool | DailiesError]:
    """Store the votes; for each row True (stored), False (stored before), or why it was refused.

    A vote whose `client_uuid` belongs to another campaign of this database gets one derived from both. The caller
    holds the campaign's lock.
    """
    state = _read(connection, campaign_id, spec, rows)
    outcomes: list[bool | DailiesError] = []
    for row in rows:
        try:
            outcomes.append(_take(state, row))
        except DailiesError as error:
            outcomes.append(error)
    _write(connection, state)
    return outcomes


def derived_uuid(campaign_id: str, client_uuid: str) -> str:
    """The `client_uuid` of another campaign's vote in this one; the same at each import."""
    return str(uuid.uuid5(NAMESPACE, f"{campaign_id} {client_uuid}"))


def _take(state: _State, row: IncomingVote) -> bool:
    """Plan one row. Raises DailiesError, and then nothing of the state is changed."""
    vote = row.vote
    if state.owners.get(vote.client_uuid, state.campaign_id) != state.campaign_id:
        vote = replace(vote, client_uuid=derived_uuid(state.campaign_id, vote.client_uuid))
    if vote.client_uuid in state.owners:
        return False
    check_axes(vote, state.spec)
    showing = _showing_for(state, vote, row)
    if vote.choice == "skip":  # it says nothing of the pair: somebody else may be asked instead
        state.slots[vote.pair_id].discard(showing.values["slot"])
        showing.values["slot"] = None
    showing.values["voted_at"] = row.voted_at
    showing.changed = True
    state.owners[vote.client_uuid] = state.campaign_id
    state.taken.append((showing, replace(row, vote=vote)))
    return True


def _showing_for(state: _State, vote: Vote, row: IncomingVote) -> _Showing:
    """The assignment that the vote fills: the one that is there, or a new one."""
    others = state.showings[vote.pair_id, vote.labeller]
    same = next((one for one in others if one.values["left_clip"] == vote.shown_left), None)
    if same is not None and not same.is_open:
        raise StoreError(f"{vote.labeller[:40]} has voted on the pair {vote.pair_id} with these sides already.")
    firsts = [one for one in others if one is not same and not one.values["is_repeat"]]
    is_repeat = any(not one.is_open for one in firsts) or bool(row.is_repeat)
    if row.is_repeat is None:
        is_repeat = bool(firsts) or (same is not None and same.values["is_repeat"])
    if not is_repeat:
        for one in firsts:  # it was shown here but not judged: once it is, it is the second answer
            _make_repeat(state, one)
    if same is None:
        return _new_showing(state, vote, row, is_repeat=is_repeat)
    if is_repeat and not same.values["is_repeat"]:
        _make_repeat(state, same)
    elif not is_repeat and same.values["is_repeat"]:
        same.values |= {"is_repeat": False, "slot": _free_slot(state, vote.pair_id)}
    return same


def _make_repeat(state: _State, one: _Showing) -> None:
    state.slots[one.values["pair_id"]].discard(one.values["slot"])
    one.values |= {"is_repeat": True, "slot": None}
    one.changed = True


def _new_showing(state: _State, vote: Vote, row: IncomingVote, *, is_repeat: bool) -> _Showing:
    place = state.places.get(vote.labeller, -1) + 1
    state.places[vote.labeller] = place
    slot = None if is_repeat or vote.choice == "skip" else _free_slot(state, vote.pair_id)
    values = {"campaign_id": state.campaign_id, "pair_id": vote.pair_id, "labeller": vote.labeller, "place": place}
    values |= {"left_clip": vote.shown_left, "slot": slot, "is_repeat": is_repeat}
    one = _Showing(id=None, values={**values, "created_at": row.voted_at, "voted_at": None})
    state.showings[vote.pair_id, vote.labeller].append(one)
    return one


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
        one = _Showing(id=values.pop("id"), values=values)
        state.showings[row.pair_id, row.labeller].append(one)
        state.places[row.labeller] = row.place
        if row.slot is not None:
            state.slots[row.pair_id].add(row.slot)
    return state


def _owners(connection: Connection, campaign_id: str, rows: Iterable[IncomingVote]) -> dict[str, str]:
    named = {row.vote.client_uuid for row in rows}
    wanted = sorted(named | {derived_uuid(campaign_id, one) for one in named})
    found: dict[str, str] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        query = select(VOTES.c.client_uuid, VOTES.c.campaign_id).where(VOTES.c.client_uuid.in_(some))
        found |= {row.client_uuid: row.campaign_id for row in connection.execute(query)}
    return found


def _write(connection: Connection, state: _State) -> None:
    """Old assignments first: a slot that one gives up may be another's."""
    every = [one for group in state.showings.values() for one in group if one.changed]
    old = [one for one in every if one.id is not None]
    names = ("slot", "is_repeat", "voted_at")
    change = update(ASSIGNMENTS).where(ASSIGNMENTS.c.id == bindparam("of"))
    change = change.values({name: bindparam(f"new_{name}") for name in names})
    for clear in (True, False):
        rows = [{"of": one.id, **{f"new_{name}": one.values[name] for name in names}} for one in old]
        if rows:
            connection.execute(change, [{**row, "new_slot": None} for row in rows] if clear else rows)
    new = [one for one in every if one.id is None]
    if new:
        insert = ASSIGNMENTS.insert().returning(ASSIGNMENTS.c.id, sort_by_parameter_order=True)
        for one, number in zip(new, connection.scalars(insert, [one.values for one in new]), strict=True):
            one.id = number
    if state.taken:
        connection.execute(VOTES.insert(), [_vote_row(state.campaign_id, *one) for one in state.taken])


def _vote_row(campaign_id: str, showing: _Showing, row: IncomingVote) -> dict[str, Any]:
    values = {name: getattr(row.vote, name) for name in ("client_uuid", "choice", "axes", "note", "ms")}
    kept = {"campaign_id": campaign_id, "assignment_id": showing.id, "current": True, "created_at": row.voted_at}
    return {**values, **kept}
