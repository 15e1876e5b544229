"""How often the intervals of a ranking hold the truth, and how often a winner is named, by simulation.

    python tests/calibration/ranking_coverage.py --trials 1000

Votes follow the model of `engine.labelling.stats.bradley_terry` on pairs of random entrants, each voted on once. A
winner is named when one entrant's worst place is 1.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.labelling.stats.bradley_terry import Strengths
from engine.labelling.stats.ranking import VoteTable, rank

VOTES = (1, 2, 3, 5, 10, 20, 50)
TAU = -0.5
"""The tie parameter: a quarter of the votes on equal entrants are ties."""
ENTRANTS = {
    "2 equal": (0.0, 0.0),
    "4 equal": (0.0,) * 4,
    "2 unequal": (-0.5, 0.5),
    "2 far apart": (-1.5, 1.5),
    "4 unequal": (-1.0, -1 / 3, 1 / 3, 1.0),
}


def drawn(theta: tuple[float, ...], votes: int, rng: np.random.Generator) -> VoteTable:
    """Votes on random pairs of the entrants."""
    strengths, size = np.asarray(theta), len(theta)
    chances = Strengths(theta=strengths, opponent=0.0, tau=TAU).probabilities()
    one = rng.integers(size, size=votes)
    other = (one + rng.integers(1, size, size=votes)) % size
    roll, win, tie = rng.random(votes), chances.win[one, other], chances.tie[one, other]
    score = np.where(roll < win, 1.0, np.where(roll < win + tie, 0.5, 0.0))
    met = sorted({*one.tolist(), *other.tolist()})
    place = {number: index for index, number in enumerate(met)}
    return VoteTable(
        names=tuple(f"m{number}" for number in met),
        first=np.array([place[number] for number in one.tolist()]),
        second=np.array([place[number] for number in other.tolist()]),
        score=score,
        pair=np.arange(votes),
    )


def coverage(theta: tuple[float, ...], votes: int, trials: int, *, resamples: int = 200) -> dict[str, float]:
    """Shares of the intervals that hold the truth (of strengths against the mean of those who met), of the places that
    do, and of the trials that name a winner, or a wrong one."""
    rng = np.random.default_rng(votes)
    inside, placed, named, wrong = [], [], 0, 0
    for trial in range(trials):
        told = drawn(theta, votes, rng)
        found = rank(told, seed=trial, resamples=resamples)
        true = {name: theta[int(name[1:])] for name in told.names}
        mean = np.mean(list(true.values()))
        for one in found.standings:
            inside.append(one.low <= true[one.entrant] - mean <= one.high)
            better = sum(other > true[one.entrant] for other in true.values())
            as_good = sum(other >= true[one.entrant] for other in true.values())
            placed.append(one.rank_low <= as_good and one.rank_high >= better + 1)
        if found.standings[0].rank_high == 1:
            named += 1
            wrong += any(other >= true[found.entrants[0]] for name, other in true.items() if name != found.entrants[0])
    return {
        "covered": float(np.mean(inside)),
        "placed": float(np.mean(placed)),
        "winner": named / trials,
        "wrong_winner": wrong / trials,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    options = parser.parse_args()
    for name, theta in ENTRANTS.items():
        for votes in VOTES:
            found = {key: round(value, 4) for key, value in coverage(theta, votes, options.trials).items()}
            sys.stdout.write(json.dumps({"entrants": name, "votes": votes, **found}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
