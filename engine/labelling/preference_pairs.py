"""Votes aggregated per pair, and `PreferencePair`: a clip preferred to another clip of its prompt."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.labelling.votes import SCORES, Choice, StoredVote

PairSource = Literal["human", "judge", "reward", "dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTally:
    """The counted votes on one pair, without skips and repeats.

    `score` is the share of clip a, 0..1, with ties as 1/2. `bad` counts the votes that found both clips bad.
    `vote_numbers` are the numbers of the stored votes.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """A preference between two clips of one prompt, from votes, an AI labeller, rewards or a data set.

    `chosen` and `rejected` are clip ids. `margin`, 0..1, is how clear the preference is: for votes, the share of the
    chosen clip minus the share of the rejected one. `votes` is the number of votes behind it, 0 for other sources;
    `vote_numbers` are their numbers. `both_bad`: half of the votes or more found both clips bad, so that neither is an
    example to follow.
    """

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    margin: float
    source: PairSource
    votes: int = 0
    vote_numbers: tuple[int, ...] = ()
    both_bad: bool = False


def tally_pairs(votes: Iterable[StoredVote], axis: str | None = None) -> list[PairTally]:
    """Aggregate votes per pair, overall or on an axis of the rubric, in the order of first votes.

    Clip a is the one with the smaller id.
    """
    by_pair: dict[str, list[tuple[StoredVote, Choice]]] = {}
    for vote in votes:
        choice = vote.choice_on(axis)
        if choice is not None and choice in SCORES and not vote.is_repeat:
            by_pair.setdefault(vote.vote.pair_id, []).append((vote, choice))
    return [_tally(choices) for choices in by_pair.values()]


def preference_pairs(
    votes: Iterable[StoredVote], *, min_margin: float = 0.0, with_both_bad: bool = False
) -> list[PreferencePair]:
    """Return the pairs with a preferred clip whose margin is above 0 and at least `min_margin`.

    Pairs of two bad clips are left out, or returned with any margin where `with_both_bad` is set.
    """
    least, found = max(min_margin, 1e-9), [_preference(tally) for tally in tally_pairs(votes)]
    return [pair for pair in found if (with_both_bad if pair.both_bad else pair.margin >= least)]


def _tally(choices: list[tuple[StoredVote, Choice]]) -> PairTally:
    first, _ = choices[0]
    sides = [(first.left_clip, first.left_entrant), (first.right_clip, first.right_entrant)]
    (clip_a, entrant_a), (clip_b, entrant_b) = sorted(sides)
    scores = [SCORES[choice] if vote.left_clip == clip_a else 1 - SCORES[choice] for vote, choice in choices]
    return PairTally(
        pair_id=first.vote.pair_id,
        prompt=first.prompt,
        clip_a=clip_a,
        clip_b=clip_b,
        entrant_a=entrant_a,
        entrant_b=entrant_b,
        votes=len(choices),
        score=sum(scores) / len(choices),
        bad=sum(choice == "both_bad" for _, choice in choices),
        vote_numbers=tuple(vote.number for vote, _ in choices),
    )


def _preference(tally: PairTally) -> PreferencePair:
    chosen, rejected = tally.clip_a, tally.clip_b
    if tally.score < 0.5:
        chosen, rejected = rejected, chosen
    return PreferencePair(
        pair_id=tally.pair_id,
        prompt=tally.prompt,
        chosen=chosen,
        rejected=rejected,
        margin=abs(2 * tally.score - 1),
        source="human",
        votes=tally.votes,
        vote_numbers=tally.vote_numbers,
        both_bad=2 * tally.bad >= tally.votes,
    )
