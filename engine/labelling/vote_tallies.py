"""What people said of each pair, all votes on it together."""

from collections.abc import Iterable
from dataclasses import dataclass

from engine.labelling.votes import SCORES, Choice, StoredVote


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTally:
    """A pair with `votes` that say something (no skips, no repeats). `score` is the share of clip a, 0..1, ties as 1/2;
    `bad` how many found both bad; `vote_numbers` are the stored votes' numbers."""

    pair_id: str
    prompt: str
    clip_a: str
    clip_b: str
    entrant_a: str
    entrant_b: str
    votes: int
    score: float
    bad: int = 0
    vote_numbers: tuple[int, ...] = ()


Said = tuple[StoredVote, Choice]


def tally_pairs(votes: Iterable[StoredVote], axis: str | None = None) -> list[PairTally]:
    """One opinion a pair, overall or on an axis of the rubric, in the order of their first votes; clip a is the one
    whose id is the smaller."""
    by_pair: dict[str, list[Said]] = {}
    for one in votes:
        choice = one.said(axis)
        if choice is not None and choice in SCORES and not one.is_repeat:
            by_pair.setdefault(one.vote.pair_id, []).append((one, choice))
    return [_opinion(told) for told in by_pair.values()]


def _opinion(told: list[Said]) -> PairTally:
    first, _ = told[0]
    sides = [(first.left_clip, first.left_entrant), (first.right_clip, first.right_entrant)]
    (clip_a, entrant_a), (clip_b, entrant_b) = sorted(sides)
    scores = [SCORES[choice] if one.left_clip == clip_a else 1 - SCORES[choice] for one, choice in told]
    return PairTally(
        pair_id=first.vote.pair_id,
        prompt=first.prompt,
        clip_a=clip_a,
        clip_b=clip_b,
        entrant_a=entrant_a,
        entrant_b=entrant_b,
        votes=len(told),
        score=sum(scores) / len(told),
        bad=sum(choice == "both_bad" for _, choice in told),
        vote_numbers=tuple(one.number for one, _ in told),
    )
