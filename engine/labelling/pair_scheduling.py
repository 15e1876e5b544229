"""The order in which a campaign's strategy wants its pairs, from the votes so far. Random has none: pairs are shuffled.

A plan is kept with its campaign and made again after a few votes, so that most people who ask for a pair wait for none.
What was planned is asked once: whoever is given a pair takes it out of the plan.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, or_, select
from threadpoolctl import threadpool_limits

from engine.labelling.assignment import AssignmentRequest, assign_next, has_both_clips, slots_taken
from engine.labelling.campaign_spec import CampaignSpec, Strategy
from engine.labelling.stats.bradley_terry import Strengths, WinCounts, refit
from engine.labelling.stats.pair_selection import Candidate, Scores, dissent_first, uncertain_first, vote_information
from engine.labelling.votes import SCORES
from engine.storage.schema import ASSIGNMENTS, CLIPS, PAIRS, VOTES

PLANNED = 60  # askings
RENEW_AFTER = 10  # votes


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerState:
    """What a plan is made of: pairs that could be asked about, meetings so far and expected as `uncertain_first` counts
    them, the ranking."""

    free: Sequence[Candidate]
    met: np.ndarray
    strengths: Strengths
    scores: Scores


PLANS: Mapping[Strategy, Callable[[SchedulerState], list[str]] | None] = {
    "random": None,
    "uncertain": lambda known: uncertain_first(known.free, known.met, known.strengths, PLANNED),
    "dissent": lambda known: dissent_first(known.free, known.scores, known.strengths, PLANNED),
}


def plan_of(stored: Mapping[str, Any] | None) -> list[str]:
    """The pair ids of a stored plan, the first first."""
    return list(stored["pairs"]) if stored else []


def assign_from_schedule(
    connection: Connection, asking: AssignmentRequest, plan: Mapping[str, Any] | None, count: int
) -> Mapping[str, Any] | None:
    """Give a labeller up to `count` pairs more, the planned ones first; the plan without them."""
    rest, given = plan_of(plan), 0
    while given < count and (pair_id := assign_next(connection, asking, rest)) is not None:
        given += 1
        if pair_id in rest:
            rest.remove(pair_id)
    return None if plan is None else {**plan, "pairs": rest}


def compute_schedule(
    connection: Connection, campaign_id: str, spec: CampaignSpec, stored: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """A new plan, ready to be stored, where the strategy has one and the old one is out of date; else None."""
    make = PLANS[spec.strategy]
    if make is None:
        return None
    votes = connection.scalar(select(func.count()).where(VOTES.c.campaign_id == campaign_id)) or 0
    used_up = stored is not None and not stored["pairs"] and stored.get("planned", 0) > 0
    if stored and not used_up and votes - stored["votes"] < RENEW_AFTER:
        return None
    with threadpool_limits(limits=1, user_api="blas"):  # as for a ranking: small matrices, while others vote
        pairs = make(_known(connection, campaign_id, spec))
    return {"votes": votes, "pairs": pairs, "planned": len(pairs)}


def _known(connection: Connection, campaign_id: str, spec: CampaignSpec) -> SchedulerState:
    of_campaign = PAIRS.c.campaign_id == campaign_id
    query = select(PAIRS.c.entrant_a).where(of_campaign).union(select(PAIRS.c.entrant_b).where(of_campaign))
    names = sorted(connection.scalars(query))
    place = {name: number for number, name in enumerate(names)}
    meetings = _meetings(connection, campaign_id, place)
    start = Strengths(theta=np.zeros(len(names)), opponent=0.0, tau=0.0)
    return SchedulerState(
        free=_free(connection, campaign_id, spec, place),
        met=_met(connection, campaign_id, place),
        strengths=refit(meetings, start),
        scores=_scores(connection, campaign_id),
    )


def _free(connection: Connection, campaign_id: str, spec: CampaignSpec, place: Mapping[str, int]) -> list[Candidate]:
    taken = slots_taken()
    query = select(PAIRS, taken.label("asked")).where(PAIRS.c.campaign_id == campaign_id, *has_both_clips())
    query = query.where(taken < spec.labellers_per_pair).order_by(PAIRS.c.shuffle, PAIRS.c.id)
    return [
        Candidate(
            pair_id=row.id,
            one=place[row.entrant_a],
            other=place[row.entrant_b],
            clip_a=row.clip_a,
            clip_b=row.clip_b,
            asked=row.asked,
            wanted=spec.labellers_per_pair,
        )
        for row in connection.execute(query)
    ]


def _shown(campaign_id: str, *columns: Any) -> Any:
    """A query of these columns for everything that was shown but repeats and what was skipped, with `times`."""
    joined = ASSIGNMENTS.join(PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id)
    joined = joined.outerjoin(VOTES, (VOTES.c.assignment_id == ASSIGNMENTS.c.id) & VOTES.c.current)
    query = select(*columns, func.count().label("times")).select_from(joined).group_by(*columns)
    query = query.where(ASSIGNMENTS.c.campaign_id == campaign_id, ASSIGNMENTS.c.is_repeat.is_(False))
    return query.where(or_(VOTES.c.choice.is_(None), VOTES.c.choice.in_(list(SCORES))))


def _met(connection: Connection, campaign_id: str, place: Mapping[str, int]) -> np.ndarray:
    """How often entrants met or are about to, `[N,N]`."""
    met = np.zeros((len(place), len(place)))
    for row in connection.execute(_shown(campaign_id, PAIRS.c.id, PAIRS.c.entrant_a, PAIRS.c.entrant_b)):
        a, b = place[row.entrant_a], place[row.entrant_b]
        if a != b:
            met[[a, b], [b, a]] += vote_information(row.times)
    return met


def _meetings(connection: Connection, campaign_id: str, place: Mapping[str, int]) -> WinCounts:
    """Votes as wins and ties."""
    left_is_a = (ASSIGNMENTS.c.left_clip == PAIRS.c.clip_a).label("left_is_a")
    query = _shown(campaign_id, PAIRS.c.entrant_a, PAIRS.c.entrant_b, left_is_a, VOTES.c.choice)
    wins, ties = np.zeros((2, len(place), len(place)))
    for row in connection.execute(query.where(VOTES.c.choice.is_not(None))):
        a, b = place[row.entrant_a], place[row.entrant_b]
        left, right = (a, b) if row.left_is_a else (b, a)
        score = SCORES[row.choice]
        if score == 0.5:
            ties[a, b] += row.times
            ties[b, a] += row.times
        else:
            wins[(left, right) if score else (right, left)] += row.times
    return WinCounts(wins=wins, ties=ties)


def _scores(connection: Connection, campaign_id: str) -> Scores:
    """What rewards say of the campaign's clips, by the newest report of each."""
    of_campaign = PAIRS.c.campaign_id == campaign_id
    ids = select(PAIRS.c.clip_a).where(of_campaign).union(select(PAIRS.c.clip_b).where(of_campaign))
    query = select(CLIPS.c.id, CLIPS.c.parts).where(CLIPS.c.id.in_(ids), CLIPS.c.parts.is_not(None))
    return {row.id: row.parts for row in connection.execute(query)}
