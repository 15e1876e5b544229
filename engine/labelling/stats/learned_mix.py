"""A mix learned from people: the rewards' weights under which the preferred clip tends to have the higher total.

Bradley-Terry over the parts: P(a is preferred) = sigmoid(sum_i b_i (r_i(a) - r_i(b))), b_i >= 0 since a reward is never
to be made worse on purpose. Ties pull both ways by half a vote each. A quadratic penalty, chosen by cross-validation
over prompts, keeps few votes from being trusted too far. The weights of the mix are the b_i, scaled to a sum of 1.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from engine.config.presets import preset_keys
from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.labelling.stats.pair_selection import Scores
from engine.labelling.vote_tallies import PairTally, tally_pairs
from engine.labelling.votes import StoredVote
from rewards.mix import Mix

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # votes' worth of doubt a unit of squared weight
FOLDS = 5
FEWEST = 10  # pairs, below which nothing is learned
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
ROUND = 4  # decimals of a weight that is written down


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedMix:
    """`weights` by reward, summing to 1. `accuracy` 0..1: how often the total that was fitted on other prompts prefers
    the clip that people prefer, by cross-validation (`equal_accuracy`: the same for equal weights); None where no pair
    has a preferred clip. `left_out` are rewards without a value for both clips of any pair."""

    weights: dict[str, float]
    penalty: float
    accuracy: float | None
    equal_accuracy: float | None
    pairs: int
    votes: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """`differences[P,R]` of the parts (0 where a reward does not apply), people's `score[P]` and `votes[P]`; `fold[P]`
    in 0..FOLDS-1, the same for all pairs of a prompt."""

    differences: np.ndarray
    score: np.ndarray
    votes: np.ndarray
    fold: np.ndarray

    def part(self, which: np.ndarray) -> "_Table":
        return _Table(
            differences=self.differences[which], score=self.score[which], votes=self.votes[which], fold=self.fold[which]
        )


def learn_mix(votes: Sequence[StoredVote], scores: Scores, rewards: Sequence[str], *, seed: int = 0) -> LearnedMix:
    """Learn the weights of `rewards` from votes on clips with `scores`.

    Raises ConfigError: fewer than ten pairs whose clips are scored, ties alone, or no reward that people's choices
    follow.
    """
    told = tally_pairs(votes)
    rows = [_differences(one, scores, rewards) for one in told]
    useful = [number for number, row in enumerate(rows) if np.isfinite(row).any()]
    if len(useful) < FEWEST:
        raise ConfigError(
            f"Learning a mix needs {FEWEST} pairs or more with votes and scored clips, but got {len(useful)}: "
            "vote more, or score the campaign's clips first."
        )
    found = np.array([rows[number] for number in useful])
    table = _table(found, [told[number] for number in useful], seed)
    if not (table.score != 0.5).any():
        raise ConfigError(
            f"All {len(useful)} pairs are ties: people told no clip from the other, so there is nothing to learn. "
            "Ask about clips that differ more."
        )
    penalty = max(PENALTIES, key=lambda one: _likelihood(table, one))
    weights = _fit(table, penalty)
    if not weights.sum() > 0:
        raise ConfigError("No reward goes with what people chose: the votes and these rewards have nothing in common.")
    return LearnedMix(
        weights=dict(zip(rewards, (weights / weights.sum()).round(ROUND).tolist(), strict=True)),
        penalty=penalty,
        accuracy=_accuracy(table, lambda rest: _fit(rest, penalty)),
        equal_accuracy=_accuracy(table, lambda rest: np.ones(len(rewards))),
        pairs=len(useful),
        votes=int(table.votes.sum()),
        left_out=tuple(key for key, column in zip(rewards, found.T, strict=True) if not np.isfinite(column).any()),
    )


def save_mix(folder: Path, key: str, learned: LearnedMix, base: Mix, provenance: Mapping[str, Any]) -> Path:
    """Write a learned mix as the preset `key` into `folder` (one of `preset_folders("rewards")`) and return its file.

    `base` is the mix whose reports it was learned from: gates, calibration and backends stay those. `provenance` says
    which votes it comes from. Raises ConfigError for a name that is taken or none, or a folder that cannot be written.
    """
    path = folder / f"{key}.toml"
    if key in preset_keys("rewards") or path.exists():
        raise ConfigError(f"There is a mix '{key}' already: choose another name.")
    if not NAME.fullmatch(key):
        raise ConfigError(f"The name of a mix has letters, digits, _ and - only, but got {key[:40]!r}.")
    try:
        write_text_atomic(path, _toml(key, learned, base, provenance), new=True)
    except FileExistsError as error:
        raise ConfigError(f"There is a mix '{key}' already: choose another name.") from error
    except OSError as error:
        raise ConfigError(f"The mix cannot be written to {folder}: {error.strerror or error}.") from error
    return path


def _toml(key: str, learned: LearnedMix, base: Mix, provenance: Mapping[str, Any]) -> str:
    shown = "not known" if learned.accuracy is None else f"{learned.accuracy:.3f}"
    equal = "" if learned.equal_accuracy is None else f" (equal weights: {learned.equal_accuracy:.3f})"
    description = (
        f"Learned from {learned.votes} votes on {learned.pairs} pairs; on prompts that it had not seen it prefers the "
        f"clip that people prefer with accuracy {shown}{equal}."
    )
    origin = [f"# {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in provenance.items()]
    weights = [f"{key} = {weight}" for key, weight in learned.weights.items()]
    # A text in JSON is one in TOML too.
    texts = {"title": f"Learned: {key}", "description": description, "calibration": base.calibration}
    head = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in texts.items()]
    gates = [f"{name} = {strength}" for name, strength in base.gates.model_dump().items()]
    backends = [f"{json.dumps(name)} = {json.dumps(backend)}" for name, backend in base.backends.items()]
    tables = [
        "",
        "[weights]",
        *weights,
        "",
        "[gates]",
        *gates,
        *(["", "[backends]", *backends] if backends else []),
        "",
    ]
    return "\n".join([*origin, f"# penalty: {learned.penalty}", *head, *tables])


def _differences(one: PairTally, scores: Scores, rewards: Sequence[str]) -> np.ndarray:
    """`[R]`; NaN where a reward has no value for both."""
    left, right = scores.get(one.clip_a, {}), scores.get(one.clip_b, {})
    return np.array([_number(left.get(key)) - _number(right.get(key)) for key in rewards])


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _table(found: np.ndarray, told: Sequence[PairTally], seed: int) -> _Table:
    prompts = sorted({one.prompt for one in told})
    order = np.random.default_rng(seed).permutation(len(prompts))
    fold = {prompt: int(place) % FOLDS for prompt, place in zip(prompts, order, strict=True)}
    return _Table(
        differences=np.nan_to_num(found),
        score=np.array([one.score for one in told]),
        votes=np.array([one.votes for one in told], float),
        fold=np.array([fold[one.prompt] for one in told]),
    )


def _fit(table: _Table, penalty: float) -> np.ndarray:
    """Weights `[R]`, 0 or more: the most likely ones, less the penalty."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = table.differences @ weights
        value = -(table.votes * (table.score * log_expit(logits) + (1 - table.score) * log_expit(-logits))).sum()
        slope = table.differences.T @ (table.votes * (expit(logits) - table.score))
        return float(value + penalty / 2 * (weights**2).sum()), slope + penalty * weights

    start = np.full(table.differences.shape[1], 0.1)
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start)).x


def _likelihood(table: _Table, penalty: float) -> float:
    """Of the votes on each fold's prompts, by the weights that fit the others."""
    total = 0.0
    for rest, held in _folds(table):
        logits = held.differences @ _fit(rest, penalty)
        total += float((held.votes * (held.score * log_expit(logits) + (1 - held.score) * log_expit(-logits))).sum())
    return total


def _accuracy(table: _Table, weights_of: Any) -> float | None:
    hits, count = 0.0, 0
    for rest, held in _folds(table):
        logits = held.differences @ weights_of(rest)
        decided = held.score != 0.5
        hits += float((0.5 + 0.5 * np.sign(logits[decided]) * np.sign(held.score[decided] - 0.5)).sum())
        count += int(decided.sum())
    return hits / count if count else None


def _folds(table: _Table) -> list[tuple[_Table, _Table]]:
    """Each fold: everything else, and it."""
    there = [fold for fold in range(FOLDS) if (table.fold == fold).any() and (table.fold != fold).any()]
    return [(table.part(table.fold != fold), table.part(table.fold == fold)) for fold in there]
