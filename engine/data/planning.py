"""The order in which a campaign's strategy wants its pairs, from the votes so far. Random has none: pairs are shuffled.

A plan is kept with its campaign and made again after a few votes, so that most people who ask for a pair wait for none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from engine.data.assigning import askable, slots_taken
from engine.data.campaign_spec import CampaignSpec, Strategy
from engine.data.tables import ASSIGNMENTS, CLIPS, PAIRS, VOTES
from engine.data.votes import SCORES
from engine.preferences.bradley_terry import Meetings, Strengths, refit
from engine.preferences.choosing import Candidate, Scores, dissent_first, uncertain_first

PLANNED = 60  # pairs
RENEW_AFTER = 10  # votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a plan is made of: pairs that could be asked about, meetings so far and expected, the ranking."""

    free: Sequence[Candidate]
    met: np.ndarray
    strengths: Strengths
    scores: Scores


PLANS: Mapping[Strategy, Callable[[Known], list[str]] | None] = {
    "random": None,
    "uncertain": lambda known: uncertain_first(known.free, known.met, known.strengths, PLANNED),
    "dissent": lambda known: dissent_first(known.free, known.scores, known.strengths, PLANNED),
}


def plan_of(stored: Mapping[str, Any] | None) -> list[str]:
    """The pair ids of a stored plan, the first first."""
    return list(stored["pairs"]) if stored else []


def new_plan(
    connection: Connection, campaign_id: str, spec: CampaignSpec, stored: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """A new plan, ready to be stored, where the strategy has one and the old one is out of date; else None."""
    make = PLANS[spec.strategy]
    if make is None:
        return None
    votes = connection.scalar(select(func.count()).where(VOTES.c.campaign_id == campaign_id)) or 0
    if stored and votes - stored["votes"] < RENEW_AFTER:
        return None
    return {"votes": votes, "pairs": make(_known(connection, campaign_id, spec))}


def _known(connection: Connection, campaign_id: str, spec: CampaignSpec) -> Known:
    of_campaign = PAIRS.c.campaign_id == campaign_id
    query = select(PAIRS.c.entrant_a).where(of_campaign).union(select(PAIRS.c.entrant_b).where(of_campaign))
    names = sorted(connection.scalars(query))
    place = {name: number for number, name in enumerate(names)}
    meetings, awaited = _meetings(connection, campaign_id, place)
    start = Strengths(theta=np.zeros(len(names)), opponent=0.0, tau=0.0)
    return Known(
        free=_free(connection, campaign_id, spec, place),
        met=meetings.total + awaited,
        strengths=refit(meetings, start),
        scores=_scores(connection, campaign_id),
    )


def _free(connection: Connection, campaign_id: str, spec: CampaignSpec, place: Mapping[str, int]) -> list[Candidate]:
    query = select(PAIRS).where(PAIRS.c.campaign_id == campaign_id, *askable(), slots_taken() < spec.labellers_per_pair)
    return [
        Candidate(
            pair_id=row.id, one=place[row.entrant_a], other=place[row.entrant_b], clip_a=row.clip_a, clip_b=row.clip_b
        )
        for row in connection.execute(query.order_by(PAIRS.c.shuffle, PAIRS.c.id))
    ]


def _meetings(connection: Connection, campaign_id: str, place: Mapping[str, int]) -> tuple[Meetings, np.ndarray]:
    """Votes as wins and ties, and how often entrants meet in assignments that are still open, `[N,N]`."""
    left_is_a = (ASSIGNMENTS.c.left_clip == PAIRS.c.clip_a).label("left_is_a")
    joined = ASSIGNMENTS.join(PAIRS, PAIRS.c.id == ASSIGNMENTS.c.pair_id)
    joined = joined.outerjoin(VOTES, (VOTES.c.assignment_id == ASSIGNMENTS.c.id) & VOTES.c.current)
    columns = (PAIRS.c.entrant_a, PAIRS.c.entrant_b, left_is_a, VOTES.c.choice)
    query = select(*columns, func.count().label("times")).select_from(joined).group_by(*columns)
    query = query.where(ASSIGNMENTS.c.campaign_id == campaign_id, ASSIGNMENTS.c.is_repeat.is_(False))
    wins, ties, awaited = np.zeros((3, len(place), len(place)))
    for row in connection.execute(query):
        a, b = place[row.entrant_a], place[row.entrant_b]
        left, right = (a, b) if row.left_is_a else (b, a)
        score = SCORES.get(row.choice) if row.choice else None
        if row.choice is None:
            awaited[a, b] += row.times
            awaited[b, a] += row.times
        elif score == 0.5:
            ties[a, b] += row.times
            ties[b, a] += row.times
        elif score is not None:
            wins[(left, right) if score else (right, left)] += row.times
    return Meetings(wins=wins, ties=ties), awaited


def _scores(connection: Connection, campaign_id: str) -> Scores:
    """What rewards say of the campaign's clips, by the newest report of each."""
    of_campaign = PAIRS.c.campaign_id == campaign_id
    ids = select(PAIRS.c.clip_a).where(of_campaign).union(select(PAIRS.c.clip_b).where(of_campaign))
    query = select(CLIPS.c.id, CLIPS.c.parts).where(CLIPS.c.id.in_(ids), CLIPS.c.parts.is_not(None))
    return {row.id: row.parts for row in connection.execute(query)}
