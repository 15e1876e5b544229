"""Votes of AI labellers on the pairs of a campaign.

An AI labeller is a pairwise judge among the external rewards.

They have a table of their own: schedules, progress, rankings and exports of people's votes never read it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, delete, exists, select

from engine.clock import now
from engine.errors import ConfigError
from engine.labelling.assignment import usable_pair_conditions
from engine.labelling.campaign_spec import Pair
from engine.labelling.preference_pairs import PreferencePair
from engine.storage.library import Library
from engine.storage.schema import JUDGE_VOTES, PAIRS
from rewards.errors import RewardError
from rewards.external.registry import base_declaration, external_keys
from rewards.external.vlm.table import VlmJudge
from rewards.external.vlm.verdicts import Answers, pair_score

NAMES = ("judge", "model", "asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeVote:
    """A judge's answers about a pair: with clip a shown first, and with clip b shown first.

    `judge` is the key of the reward, `model` the model that answered, `asked` a digest of the question.
    """

    pair: Pair
    judge: str
    model: str
    asked: str
    answers: Answers

    @property
    def score(self) -> float:
        """The score of clip a: 1 for a win in both orders, 0 for a loss in both, else 1/2."""
        return pair_score(self.answers)


def judge_table(judge: str) -> VlmJudge:
    """Return the table of a pairwise judge. Raises ConfigError for another reward, or an unknown one."""
    try:
        table = base_declaration(judge).vlm
    except RewardError as error:
        raise ConfigError(str(error)) from error
    if table is None or table.mode != "pairwise":
        raise ConfigError(
            f"The external reward '{judge}' compares no pairs: name one with a [vlm] table of mode = \"pairwise\"."
        )
    return table


def pairwise_judges() -> dict[str, str]:
    """Return the titles of the pairwise judges by key; wrong declarations have none."""
    found = {}
    for key in external_keys():
        try:
            judge_table(key)
        except ConfigError:
            continue
        found[key] = base_declaration(key).title
    return found


def judge_votes(store: Library, campaign_id: str, judge: str | None = None) -> list[JudgeVote]:
    """Return the votes of a judge (None: of all judges) on the pairs of a campaign that were not dropped."""
    query = select(PAIRS, JUDGE_VOTES).join(JUDGE_VOTES, JUDGE_VOTES.c.pair_id == PAIRS.c.id)
    query = query.where(PAIRS.c.campaign_id == campaign_id, PAIRS.c.dropped_at.is_(None)).order_by(
        JUDGE_VOTES.c.judge, PAIRS.c.shuffle, PAIRS.c.id
    )
    if judge is not None:
        query = query.where(JUDGE_VOTES.c.judge == judge)
    with store.database.reading() as connection:
        return [
            JudgeVote(
                pair=Pair.of(row),
                answers=cast(Answers, (row.first, row.second)),
                **{name: getattr(row, name) for name in NAMES},
            )
            for row in connection.execute(query)
        ]


def unjudged_pairs(store: Library, campaign_id: str, judge: str, replace_before: datetime | None = None) -> list[Pair]:
    """Return the pairs with both clips on which the judge has no vote.

    A vote from before `replace_before` does not count.
    """
    unjudged = ~_judged_by(judge, replace_before)
    query = select(PAIRS).where(PAIRS.c.campaign_id == campaign_id, *usable_pair_conditions(), unjudged)
    with store.database.reading() as connection:
        return [Pair.of(row) for row in connection.execute(query.order_by(PAIRS.c.shuffle, PAIRS.c.id))]


def store_judge_votes(store: Library, votes: Iterable[JudgeVote], replace_before: datetime | None = None) -> None:
    """Store votes of judges.

    A judge's second vote on a pair is ignored, unless the first is from before `replace_before`: then it replaces it.
    """
    with store.database.writing() as connection:
        for vote in votes:
            # Locked before the look, so that two jobs of one judge do not both find the pair without a vote.
            pair = select(PAIRS.c.id).where(PAIRS.c.id == vote.pair.id)
            connection.execute(pair.with_for_update())
            if connection.scalar(pair.where(~_judged_by(vote.judge, replace_before))) is None:
                continue
            earlier = (JUDGE_VOTES.c.pair_id == vote.pair.id, JUDGE_VOTES.c.judge == vote.judge)
            connection.execute(delete(JUDGE_VOTES).where(*earlier))
            first, second = vote.answers
            names = {name: getattr(vote, name) for name in NAMES}
            row = {"pair_id": vote.pair.id, "first": first, "second": second, "created_at": now(), **names}
            connection.execute(JUDGE_VOTES.insert().values(**row))


def judged_preferences(votes: Iterable[JudgeVote]) -> list[PreferencePair]:
    """Return the pairs of which the judge preferred a clip in both orders, with margin 1."""
    return [
        PreferencePair(
            pair_id=vote.pair.id,
            prompt=vote.pair.prompt,
            chosen=vote.pair.clip_a if vote.score == 1 else vote.pair.clip_b,
            rejected=vote.pair.clip_b if vote.score == 1 else vote.pair.clip_a,
            margin=1.0,
            source="judge",
        )
        for vote in votes
        if vote.score != 0.5
    ]


def _judged_by(judge: str, since: datetime | None = None) -> ColumnElement[bool]:
    judged = exists().where(JUDGE_VOTES.c.pair_id == PAIRS.c.id, JUDGE_VOTES.c.judge == judge)
    return judged if since is None else judged.where(JUDGE_VOTES.c.created_at >= since)
