"""Learn the weights of a mix from votes, so that preferred clips tend to have the higher total.

Bradley-Terry over the parts: P(a is preferred) = sigmoid(sum_i b_i (r_i(a) - r_i(b))), with b_i >= 0, since no reward
is to be minimised. A tie counts as half a vote for each clip. A quadratic penalty, chosen by cross-validation over
prompts, prevents overfitting to few votes. The weights of the mix are the b_i, scaled to a sum of 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.presets import toml_value, write_preset
from engine.errors import ConfigError
from engine.labelling.preference_pairs import PairTally, tally_pairs
from engine.labelling.stats.pair_selection import Scores
from engine.labelling.stats.vote_regression import correct, fit_weights, fold_numbers, held_out_folds, log_likelihood
from engine.labelling.votes import StoredVote
from rewards.mix import Mix

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # log-likelihood per unit of squared weight
MIN_PAIRS = 10
DECIMALS = 4  # of a saved weight


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedMix:
    """A learned mix.

    `weights` by reward sum to 1. `accuracy`, 0..1, is how often the total prefers the clip that labellers prefer, by
    cross-validation over prompts, with a penalty chosen without the held-out prompts; `equal_accuracy` is the same for
    equal weights. Both are None if no pair has a preferred clip, or if all are of one prompt. `left_out` are the
    rewards without values for both clips of any pair.
    """

    weights: dict[str, float]
    penalty: float
    accuracy: float | None
    equal_accuracy: float | None
    pairs: int
    votes: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Training data.

    `differences[P,R]` are those of the parts (0 where a reward does not apply), `score[P]` and `votes[P]` those of the
    tallies. `fold[P]` is the same for all pairs of a prompt.
    """

    differences: np.ndarray
    score: np.ndarray
    votes: np.ndarray
    fold: np.ndarray

    def subset(self, mask: np.ndarray) -> "_Table":
        return _Table(
            differences=self.differences[mask], score=self.score[mask], votes=self.votes[mask], fold=self.fold[mask]
        )


def learn_mix(votes: Sequence[StoredVote], scores: Scores, rewards: Sequence[str], *, seed: int = 0) -> LearnedMix:
    """Learn the weights of `rewards` from votes on clips with `scores`.

    Raises ConfigError for fewer than ten pairs with scored clips, only ties, or when no reward predicts the votes.
    """
    tallies = tally_pairs(votes)
    rows = [_differences(tally, scores, rewards) for tally in tallies]
    useful = [number for number, row in enumerate(rows) if np.isfinite(row).any()]
    if len(useful) < MIN_PAIRS:
        raise ConfigError(
            f"Learning a mix needs {MIN_PAIRS} pairs or more with votes and scored clips, but got {len(useful)}: "
            "vote more, or score the campaign's clips first."
        )
    differences = np.array([rows[number] for number in useful])
    table = _table(differences, [tallies[number] for number in useful], seed)
    if not (table.score != 0.5).any():
        raise ConfigError(
            f"All {len(useful)} pairs are ties, so there is nothing to learn: compare clips that differ more."
        )
    penalty = _choose_penalty(table)
    weights = _fit(table, penalty)
    if not weights.sum() > 0:
        raise ConfigError("No reward predicts the votes: choose another mix, or collect more votes.")
    return LearnedMix(
        weights=dict(zip(rewards, (weights / weights.sum()).round(DECIMALS).tolist(), strict=True)),
        penalty=penalty,
        accuracy=_accuracy(table, lambda rest: _fit(rest, _choose_penalty(rest))),
        equal_accuracy=_accuracy(table, lambda rest: np.ones(len(rewards))),
        pairs=len(useful),
        votes=int(table.votes.sum()),
        left_out=tuple(
            key for key, column in zip(rewards, differences.T, strict=True) if not np.isfinite(column).any()
        ),
    )


def save_mix(folder: Path, key: str, learned: LearnedMix, base: Mix, provenance: Mapping[str, Any]) -> Path:
    """Write a learned mix as preset `key` into `folder` and return its file.

    `folder` is one of `preset_folders("rewards")`. `base` is the mix whose reports it was learned from; its gates,
    calibration and backends are kept. `provenance` describes the votes. Raises ConfigError for an invalid name or one
    in use, StoreError when the mix cannot be written.
    """
    shown = "not known" if learned.accuracy is None else f"{learned.accuracy:.3f}"
    equal = "" if learned.equal_accuracy is None else f" (equal weights: {learned.equal_accuracy:.3f})"
    changes = {
        "title": f"Learned: {key}",
        "description": f"Learned from {learned.votes} votes on {learned.pairs} pairs; on held-out prompts it prefers "
        f"the clip that labellers prefer with accuracy {shown}{equal}.",
        "weights": learned.weights,
    }
    origin = {**provenance, "penalty": learned.penalty}
    comments = [f"{name}: {toml_value(value)}" for name, value in origin.items()]
    return write_preset(folder, key, base.model_dump(exclude={"key"}) | changes, comments)


def _differences(tally: PairTally, scores: Scores, rewards: Sequence[str]) -> np.ndarray:
    """Return the rewards' differences `[R]`; NaN where a reward lacks a value."""
    a, b = scores.get(tally.clip_a, {}), scores.get(tally.clip_b, {})
    return np.array([_number(a.get(key)) - _number(b.get(key)) for key in rewards])


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _table(differences: np.ndarray, tallies: Sequence[PairTally], seed: int) -> _Table:
    return _Table(
        differences=np.nan_to_num(differences),
        score=np.array([tally.score for tally in tallies]),
        votes=np.array([tally.votes for tally in tallies], float),
        fold=fold_numbers(tallies, seed),
    )


def _fit(table: _Table, penalty: float) -> np.ndarray:
    """Return the weights `[R]`, 0 or more, with the highest penalised likelihood."""
    return fit_weights(table.differences, table.score, table.votes, penalty=penalty, non_negative=True)


def _choose_penalty(table: _Table) -> float:
    """Return the penalty with the highest cross-validated likelihood, of equal ones the strongest.

    Votes on a single prompt cannot be cross-validated: they get the strongest one.
    """
    return max(reversed(PENALTIES), key=lambda penalty: _likelihood(table, penalty))


def _likelihood(table: _Table, penalty: float) -> float:
    """Return the cross-validated log-likelihood of the votes."""
    return sum(
        log_likelihood(fold.differences @ _fit(rest, penalty), fold.score, fold.votes) for rest, fold in _folds(table)
    )


def _accuracy(table: _Table, weights_of: Callable[[_Table], np.ndarray]) -> float | None:
    hits: list[float] = []
    for rest, fold in _folds(table):
        decided = fold.subset(fold.score != 0.5)
        hits.extend(correct(decided.differences @ weights_of(rest), decided.score))
    return float(np.mean(hits)) if hits else None


def _folds(table: _Table) -> list[tuple[_Table, _Table]]:
    """Return (training part, held-out fold) for each fold."""
    return [(table.subset(rest), table.subset(fold)) for rest, fold in held_out_folds(table.fold)]
