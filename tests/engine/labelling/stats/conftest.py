"""Votes of simulated people: a known strength for each entrant, a known way of voting."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from engine.clock import now
from engine.labelling.stats.bradley_terry import Strengths
from engine.labelling.stats.ranking import VoteTable
from engine.labelling.votes import StoredVote, Vote

NOW = now()


def make_vote(number: int, left: tuple[str, str], right: tuple[str, str], choice: str, **others: Any) -> StoredVote:
    """`left` and `right` are (clip, entrant)."""
    pair = others.pop("pair", "-".join(sorted((left[0], right[0]))))
    vote = Vote(
        pair_id=pair,
        labeller=others.pop("labeller", "ann"),
        choice=choice,  # type: ignore[arg-type]
        shown_left=left[0],
        client_uuid=f"vote-{number:08d}",
        axes=others.pop("axes", {}),
        ms=others.pop("ms", 1000),
    )
    shown = {"left_clip": left[0], "right_clip": right[0], "left_entrant": left[1], "right_entrant": right[1]}
    settings = {"prompt": pair, "is_repeat": False, **others}
    return StoredVote(
        number=number, vote=vote, campaign_id="c", assignment_id=number, created_at=NOW, **shown, **settings
    )


@pytest.fixture(scope="session")
def a_vote() -> Callable[..., StoredVote]:
    """`a_vote(number, (clip, entrant), (clip, entrant), choice, labeller=, pair=, prompt=, is_repeat=, ms=, axes=)`."""
    return make_vote


def draw_contests(
    theta: Sequence[float], count: int, *, tau: float = -0.5, people: int = 1, seed: int = 0
) -> VoteTable:
    """Votes that follow the model exactly, on `count` pairs of random entrants.

    With several people on a pair, half of them repeat the first one's vote.
    """
    rng = np.random.default_rng(seed)
    size = len(theta)
    chances = Strengths(theta=np.asarray(theta, float), opponent=0.0, tau=tau).probabilities()
    one = rng.integers(size, size=count)
    other = (one + rng.integers(1, size, size=count)) % size
    drawn, win, tie = rng.random((people, count)), chances.win[one, other], chances.tie[one, other]
    score = np.where(drawn < win, 1.0, np.where(drawn < win + tie, 0.5, 0.0))
    score = np.where(rng.random((people, count)) < 0.5, score[:1], score)
    names = tuple(f"m{number:03d}" for number in range(size))
    pairs = {name: np.tile(values, people) for name, values in (("first", one), ("second", other))}
    return VoteTable(names=names, **pairs, score=score.ravel(), pair=np.tile(np.arange(count), people))


@pytest.fixture(scope="session")
def contests_of() -> Callable[..., VoteTable]:
    """`contests_of(theta, count, tau=, people=, seed=)`."""
    return draw_contests
