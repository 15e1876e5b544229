"""Agreement of an AI labeller with people, and the condition to train on its votes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import JudgeVote, judge_votes, judged_preferences
from engine.labelling.preference_pairs import PreferencePair, tally_pairs
from engine.labelling.stats.agreement import Proportion, Ratings, alpha_interval, krippendorff
from engine.labelling.votes import StoredVote
from rewards.external.vlm.verdicts import judge_gauges

MIN_COMMON = 20
"""Least number of pairs with a preference of both on which an agreement is judged; a choice, not measured."""
PEOPLE = "people"
UNCHECKED = "or set judge_agreement to 0 to use its votes unchecked"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAgreement:
    """A judge compared with people.

    `pairs` and `ties` count the judge's votes. A verdict is one clip, the other clip or a tie, for people by their mean
    score. `equal` is the share of equal preferences over the common pairs that neither called a tie, since training
    uses preferences alone. `alpha` is Krippendorff's ordinal alpha between all verdicts with the ends of its 95 %
    bootstrap interval, None where it is undefined. The three last are the gauges of `rewards.external.vlm.verdicts`.
    The names are keys of the CLI's JSON.
    """

    judge: str
    models: tuple[str, ...]
    pairs: int
    ties: int
    equal: Proportion
    alpha: float | None
    low: float | None
    high: float | None
    disagreement: float
    unreadable: float
    first_chosen: float | None = None


def campaign_judges(campaigns: Campaigns, campaign_id: str, judge: str | None = None) -> list[JudgeAgreement]:
    """Return the agreement of a judge (None: of each judge) of a campaign with people."""
    judged = judge_votes(campaigns.store, campaign_id, judge)
    return judge_agreements(campaigns.votes(campaign_id), judged) if judged else []


def judge_agreements(people: Iterable[StoredVote], judged: Sequence[JudgeVote]) -> list[JudgeAgreement]:
    """Return the agreement of each judge with people, by the judge's key."""
    verdicts = {tally.pair_id: _verdict(tally.score) for tally in tally_pairs(people)}
    keys = sorted({vote.judge for vote in judged})
    return [_agreement(key, verdicts, [vote for vote in judged if vote.judge == key]) for key in keys]


def checked_preferences(
    judge: str, people: Sequence[StoredVote], judged: Sequence[JudgeVote], least: float
) -> list[PreferencePair]:
    """Return the judge's preferences on pairs that people have not compared.

    `judged` are its votes. Raises ConfigError when it has none, and, unless `least` is 0, as `check_judge` does and for
    votes of several questions or models, because one agreement would stand for all of them.
    """
    found = judge_agreements(people, judged)
    if not found:
        raise ConfigError(f"The judge '{judge}' has no vote in this campaign: run `dailies campaigns judge` first.")
    if least > 0 and len({(vote.asked, vote.model) for vote in judged}) > 1:
        raise ConfigError(
            f"The votes of the judge '{judge}' cannot be used: they answer several questions, or come from several "
            f"models ({', '.join(found[0].models)}). Run `dailies campaigns judge` with `--again`, {UNCHECKED}."
        )
    check_judge(found[0], least)
    compared = {tally.pair_id for tally in tally_pairs(people)}
    return judged_preferences(vote for vote in judged if vote.pair.id not in compared)


def _verdict(score: float) -> float:
    """Return the verdict for a clip with this score, 0..1: 1 for it, 0 against it, 1/2 for a tie."""
    return 0.5 if score == 0.5 else float(score > 0.5)


def check_judge(agreement: JudgeAgreement, least: float) -> None:
    """Raise ConfigError for a judge whose votes may not be trained on.

    Its share of equal preferences must be `least` or more, over 20 common pairs or more, and above chance: its 95 %
    interval lies above 1/2. 0 allows every judge.
    """
    if least == 0:
        return
    share, count = agreement.equal.value, agreement.equal.count
    refused = f"The votes of the judge '{agreement.judge}' cannot be used:"
    if share is None or count < MIN_COMMON:
        raise ConfigError(
            f"{refused} people and the judge both prefer a clip on {count} pairs, and {MIN_COMMON} are needed to "
            f"measure its agreement. Label more pairs, {UNCHECKED}."
        )
    found = f"{refused} it prefers the clip that people prefer on {share:.0%} of {count} pairs"
    if share < least:
        needed = f"{least:.0%} are needed (judge_agreement)"
        raise ConfigError(f"{found}, and {needed}. Change its question or model, {UNCHECKED}.")
    if agreement.equal.interval[0] <= 0.5:
        raise ConfigError(f"{found}, which may be chance. Label more pairs, {UNCHECKED}.")


def _agreement(key: str, people: dict[str, float], votes: Sequence[JudgeVote]) -> JudgeAgreement:
    ratings: Ratings = {
        vote.pair.id: {PEOPLE: people[vote.pair.id], key: _rating(vote)} for vote in votes if vote.pair.id in people
    }
    low, high = alpha_interval(ratings)
    preferred = [set(both.values()) for both in ratings.values() if 0.5 not in both.values()]
    return JudgeAgreement(
        judge=key,
        models=tuple(sorted({vote.model for vote in votes})),
        pairs=len(votes),
        ties=sum(vote.score == 0.5 for vote in votes),
        equal=Proportion(hits=sum(len(both) == 1 for both in preferred), count=len(preferred)),
        alpha=krippendorff(ratings),
        low=low,
        high=high,
        **judge_gauges([vote.answers for vote in votes]),
    )


def _rating(vote: JudgeVote) -> float:
    """Return the score of the pair's clip with the smaller id, as `PairTally` has it."""
    return vote.score if vote.pair.clip_a < vote.pair.clip_b else 1 - vote.score
