"""Strategies select informative pairs, and informative-first needs far fewer votes than chance."""

import numpy as np
import pytest

from engine.labelling.stats.bradley_terry import Strengths, WinCounts, covariance, refit
from engine.labelling.stats.pair_selection import Candidate, disagreement_first, informative_first, reward_differences

SIZE, STRENGTHS = 8, np.linspace(-3, 3, 8)


def candidates(prompts: int) -> list[Candidate]:
    return [
        Candidate(pair_id=f"{i}-{j}-{prompt}", entrant_a=i, entrant_b=j, clip_a=f"a{prompt}", clip_b=f"b{prompt}")
        for prompt in range(prompts)
        for i in range(SIZE)
        for j in range(i + 1, SIZE)
    ]


def flat(size: int) -> Strengths:
    return Strengths(theta=np.zeros(size), opponent=0.0, tau=0.0)


def votes_needed(width: float, seed: int, informative: bool) -> int:
    """Simulated votes until every entrant's 95 % interval is at most so wide (log-odds)."""
    rng = np.random.default_rng(seed)
    truth = Strengths(theta=STRENGTHS, opponent=0.0, tau=-0.5).probabilities()
    waiting = candidates(120)
    free = {waiting[place].pair_id: waiting[place] for place in rng.permutation(len(waiting))}
    wins, ties = np.zeros((2, SIZE, SIZE))
    found, votes = flat(SIZE), 0
    while free:
        met = wins + wins.T + ties
        chosen = informative_first(list(free.values()), met, found, 10) if informative else list(free)[:10]
        for pair in (free.pop(pair_id) for pair_id in chosen):
            i, j, drawn = pair.entrant_a, pair.entrant_b, rng.random()
            if drawn < truth.win[i, j]:
                wins[i, j] += 1
            elif drawn < truth.win[i, j] + truth.tie[i, j]:
                ties[[i, j], [j, i]] += 1
            else:
                wins[j, i] += 1
        votes += len(chosen)
        found = refit(WinCounts(wins=wins, ties=ties), found)
        known = covariance(wins + wins.T + ties, found)
        if 2 * 1.96 * np.sqrt(np.diag(known).max()) <= width:
            return votes
    pytest.fail("the pairs did not suffice")


def test_informative_first_needs_a_third_fewer_votes_for_the_same_interval():
    """The best of eight entrants nearly always beats the worst: such pairs are rarely selected."""
    by_chance = np.mean([votes_needed(0.9, seed, informative=False) for seed in range(3)])
    informative = np.mean([votes_needed(0.9, seed, informative=True) for seed in range(3)])
    assert informative <= 0.7 * by_chance, f"{informative:.0f} votes against {by_chance:.0f}"


def test_a_stranger_is_asked_about_first():
    met = np.full((SIZE, SIZE), 20.0)
    met[3] = met[:, 3] = 0
    np.fill_diagonal(met, 0)
    chosen = informative_first(candidates(2), met, flat(SIZE), 4)
    assert len(set(chosen)) == 4 and all("3" in pair_id.split("-")[:2] for pair_id in chosen)


def test_no_pair_is_chosen_twice_and_all_are_in_the_end():
    free = candidates(1)
    chosen = informative_first(free, np.zeros((SIZE, SIZE)), flat(SIZE), 1000)
    assert sorted(chosen) == sorted(one.pair_id for one in free)


def test_pairs_of_one_entrant_with_itself_tell_nothing_of_the_ranking():
    free = [Candidate(pair_id="self", entrant_a=0, entrant_b=0, clip_a="a", clip_b="b")]
    assert informative_first(free, np.zeros((2, 2)), flat(2), 5) == []


def test_disagreement_is_where_rewards_contradict_the_ranking():
    strengths = Strengths(theta=np.array([1.0, -1.0]), opponent=0.0, tau=-2.0)
    names = ("agree", "contradict", "split", "unscored")
    free = [Candidate(pair_id=name, entrant_a=0, entrant_b=1, clip_a=f"{name} a", clip_b=f"{name} b") for name in names]
    scores = {
        "agree a": {"r": 0.9, "s": 0.8},
        "agree b": {"r": 0.1, "s": 0.2},
        "contradict a": {"r": 0.1, "s": 0.2},
        "contradict b": {"r": 0.9, "s": 0.8},
        "split a": {"r": 0.9, "s": 0.2},
        "split b": {"r": 0.1, "s": 0.8},
    }
    assert disagreement_first(free, scores, strengths, 4) == ["contradict", "split", "agree", "unscored"]
    assert disagreement_first(free, scores, strengths, 1) == ["contradict"]


def test_a_reward_that_does_not_apply_to_both_says_nothing():
    scores = {"a": {"r": 0.5, "s": None, "t": 0.75}, "b": {"r": 0.25, "s": 0.5}}
    assert reward_differences(scores, "a", "b") == {"r": 0.25}
    assert reward_differences(scores, "a", "unknown") == {}
