"""Schedules: the order in which a campaign's strategy assigns pairs, computed from the votes so far.

The random strategy has no schedule, since pairs are stored in shuffled order. A schedule is stored with its campaign
and recomputed after a few votes, so that most requests do not have to recompute it. Each entry is used once: assigning
a pair removes it from the schedule.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, or_, select
from threadpoolctl import threadpool_limits

from engine.labelling.assignment import HAS_FREE_SLOT, AssignmentRequest, assign_next, usable_pair_conditions
from engine.labelling.campaign_spec import CampaignSpec, Strategy
from engine.labelling.stats.bradley_terry import Strengths, WinCounts, refit
from engine.labelling.stats.pair_selection import (
    Candidate,
    Scores,
    disagreement_first,
    informative_first,
    vote_information,
)
from engine.labelling.votes import SCORES
from engine.storage.schema import ASSIGNMENTS, CLIPS, LABELLERS, PAIRS, VOTES

SCHEDULE_LENGTH = 60  # assignments
RESCHEDULE_AFTER = 10  # votes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInput:
    """Inputs of a schedule.

    `free` are the pairs with free slots. `comparisons[N,N]` counts the comparisons of entrants, received and expected,
    as `informative_first` takes them. `strengths` is the current ranking.
    """

    free: Sequence[Candidate]
    comparisons: np.ndarray
    strengths: Strengths
    scores: Scores


STRATEGIES: Mapping[Strategy, Callable[[ScheduleInput], list[str]] | None] = {
    "random": None,
    "informative": lambda state: informative_first(state.free, state.comparisons, state.strengths, SCHEDULE_LENGTH),
    "disagreement": lambda state: disagreement_first(state.free, state.scores, state.strengths, SCHEDULE_LENGTH),
}


def scheduled_pairs(stored: Mapping[str, Any] | None) -> list[str]:
    """Return the pair ids of a stored schedule, in order."""
    return list(stored["pairs"]) if stored else []


def assign_from_schedule(
    connection: Connection, request: AssignmentRequest, schedule: Mapping[str, Any] | None, count: int
) -> Mapping[str, Any] | None:
    """Assign up to `count` more pairs to a labeller, scheduled ones first; return the remaining schedule."""
    remaining, assigned = scheduled_pairs(schedule), 0
    while assigned < count and (pair_id := assign_next(connection, request, remaining)) is not None:
        assigned += 1
        if pair_id in remaining:
            remaining.remove(pair_id)
    return None if schedule is None else {**schedule, "pairs": remaining}


def compute_schedule(
    connection: Connection, campaign_id: str, spec: CampaignSpec, stored: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return a new schedule to store; None when the stored one is current or the strategy has none."""
    ordered_by = STRATEGIES[spec.strategy]
    if ordered_by is None:
        return None
    stored_votes = select(func.sum(LABELLERS.c.changes)).where(LABELLERS.c.campaign_id == campaign_id)
    votes = connection.scalar(stored_votes) or 0
    used_up = stored is not None and not stored["pairs"] and stored.get("planned", 0) > 0
    if stored and not used_up and votes - stored["votes"] < RESCHEDULE_AFTER:
        return None
    # As in `rank`: the matrices are small, and other requests need the cores.
    with threadpool_limits(limits=1, user_api="blas"):
        pairs = ordered_by(_schedule_input(connection, campaign_id, spec))
    return {"votes": votes, "pairs": pairs, "planned": len(pairs)}


def _schedule_input(connection: Connection, campaign_id: str, spec: CampaignSpec) -> ScheduleInput:
    of_campaign = PAIRS.c.campaign_id == campaign_id
    query = select(PAIRS.c.entrant_a).where(of_campaign).union(select(PAIRS.c.entrant_b).where(of_campaign))
    names = sorted(connection.scalars(query))
    index = {name: number for number, name in enumerate(names)}
    counts = _win_counts(connection, campaign_id, index)
    start = Strengths(theta=np.zeros(len(names)), opponent=0.0, tau=0.0)
    return ScheduleInput(
        free=_free(connection, campaign_id, spec, index),
        comparisons=_comparisons(connection, campaign_id, index),
        strengths=refit(counts, start),
        scores=_scores(connection, campaign_id),
    )


def _free(connection: Connection, campaign_id: str, spec: CampaignSpec, index: Mapping[str, int]) -> list[Candidate]:
    query = select(PAIRS).where(PAIRS.c.campaign_id == campaign_id, HAS_FREE_SLOT, *usable_pair_conditions())
    query = query.order_by(PAIRS.c.shuffle, PAIRS.c.id)
    return [
        Candidate(
            pair_id=row.id,
            entrant_a=index[row.entrant_a],
            entrant_b=index[row.entrant_b],
            clip_a=row.clip_a,
            clip_b=row.clip_b,
            assigned=spec.labellers_per_pair - row.free,
            slots=spec.labellers_per_pair,
        )
        for row in connection.execute(query)
    ]


def _assignment_counts(campaign_id: str, *columns: Any) -> Any:
    """Return a query that counts assignments by these columns, as `times`, without repeats and skips."""
    joined = ASSIGNMENTS.join(PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id)
    joined = joined.outerjoin(VOTES, (VOTES.c.assignment_id == ASSIGNMENTS.c.id) & VOTES.c.current)
    query = select(*columns, func.count().label("times")).select_from(joined).group_by(*columns)
    query = query.where(ASSIGNMENTS.c.campaign_id == campaign_id, ASSIGNMENTS.c.is_repeat.is_(False))
    return query.where(or_(VOTES.c.choice.is_(None), VOTES.c.choice.in_(list(SCORES))))


def _comparisons(connection: Connection, campaign_id: str, index: Mapping[str, int]) -> np.ndarray:
    """Return the received and expected comparisons between entrants, `[N,N]`."""
    counts = np.zeros((len(index), len(index)))
    for row in connection.execute(_assignment_counts(campaign_id, PAIRS.c.id, PAIRS.c.entrant_a, PAIRS.c.entrant_b)):
        a, b = index[row.entrant_a], index[row.entrant_b]
        if a != b:
            counts[[a, b], [b, a]] += vote_information(row.times)
    return counts


def _win_counts(connection: Connection, campaign_id: str, index: Mapping[str, int]) -> WinCounts:
    """Return the votes as wins and ties between entrants."""
    left_is_a = (ASSIGNMENTS.c.left_clip == PAIRS.c.clip_a).label("left_is_a")
    query = _assignment_counts(campaign_id, PAIRS.c.entrant_a, PAIRS.c.entrant_b, left_is_a, VOTES.c.choice)
    wins, ties = np.zeros((2, len(index), len(index)))
    for row in connection.execute(query.where(VOTES.c.choice.is_not(None))):
        a, b = index[row.entrant_a], index[row.entrant_b]
        left, right = (a, b) if row.left_is_a else (b, a)
        score = SCORES[row.choice]
        if score == 0.5:
            ties[a, b] += row.times
            ties[b, a] += row.times
        else:
            wins[(left, right) if score else (right, left)] += row.times
    return WinCounts(wins=wins, ties=ties)


def _scores(connection: Connection, campaign_id: str) -> Scores:
    """Return the rewards of the campaign's clips, each from its newest report."""
    of_campaign = PAIRS.c.campaign_id == campaign_id
    ids = select(PAIRS.c.clip_a).where(of_campaign).union(select(PAIRS.c.clip_b).where(of_campaign))
    query = select(CLIPS.c.id, CLIPS.c.parts).where(CLIPS.c.id.in_(ids), CLIPS.c.parts.is_not(None))
    return {row.id: row.parts for row in connection.execute(query)}
