"""`PreferencePair`: a clip that is preferred to another of the same prompt, from votes, rewards or a data set."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.labelling.vote_tallies import PairTally, tally_pairs
from engine.labelling.votes import StoredVote

PairSource = Literal["human", "reward", "dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """`chosen` and `rejected` are clip ids. `margin` 0..1 is how clear it is: of votes, the share for the chosen clip
    less the share for the other. `votes` is how many it rests on, 0 where nobody voted; `vote_numbers` which ones."""

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    margin: float
    source: PairSource
    votes: int = 0
    vote_numbers: tuple[int, ...] = ()


def preference_pairs(votes: Iterable[StoredVote], *, min_margin: float = 0.0) -> list[PreferencePair]:
    """The pairs on which people preferred one clip, by a margin above 0 and of at least `min_margin`.

    Where half of the votes found both clips bad, neither is an example to follow: such pairs are left out.
    """
    return [
        pair
        for opinion in tally_pairs(votes)
        if 2 * opinion.bad < opinion.votes and (pair := _pair(opinion)).margin >= max(min_margin, 1e-9)
    ]


def _pair(opinion: PairTally) -> PreferencePair:
    chosen, rejected = opinion.clip_a, opinion.clip_b
    if opinion.score < 0.5:
        chosen, rejected = rejected, chosen
    return PreferencePair(
        pair_id=opinion.pair_id,
        prompt=opinion.prompt,
        chosen=chosen,
        rejected=rejected,
        margin=abs(2 * opinion.score - 1),
        source="human",
        votes=opinion.votes,
        vote_numbers=opinion.vote_numbers,
    )
