"""Train a reward head on votes: penalised Bradley-Terry regression over clip embeddings.

The values of the rewards and the vectors of the networks have a penalty each, both chosen by cross-validation over
prompts. Accuracies come from an outer cross-validation whose held-out prompts had no part in that choice.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import ConfigError
from engine.labelling.preference_pairs import PairTally
from engine.labelling.stats.vote_regression import correct, fit_weights, fold_numbers, held_out_folds, log_likelihood
from rewards.heads.embedding import BLOCKS
from rewards.heads.model import HeadCard, RewardHead, concat, standardise
from rewards.mix import Mix

REWARD_PENALTIES = (0.1, 1.0, 10.0)
NETWORK_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)  # log-likelihood per unit of squared weight
MEMBERS = 8
MIN_PAIRS, MIN_PROMPTS = 20, 5
MIN_SPREAD = 1e-6

Embedding = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadData:
    """Training data of a head.

    `differences[P,D]` are those of standardised embeddings, `score[P]` and `votes[P]` those of the tallies. `prompt[P]`
    is the number of a pair's prompt. `is_reward[D]` marks the features that are values of rewards. `fold[P]` is the
    same for all pairs of a prompt.
    """

    differences: np.ndarray
    score: np.ndarray
    votes: np.ndarray
    prompt: np.ndarray
    fold: np.ndarray
    is_reward: np.ndarray

    def subset(self, rows: np.ndarray) -> "HeadData":
        return HeadData(
            differences=self.differences[rows],
            score=self.score[rows],
            votes=self.votes[rows],
            prompt=self.prompt[rows],
            fold=self.fold[rows],
            is_reward=self.is_reward,
        )


def train_head(
    tallies: Sequence[PairTally],
    embeddings: Mapping[str, Embedding],
    *,
    mix: Mix,
    rewards: Sequence[str],
    card: Mapping[str, object],
    seed: int = 0,
) -> RewardHead:
    """Train a head on the pairs whose clips have embeddings, by clip id.

    `mix` is the mix whose features the embeddings are, `rewards` the order of their block "rewards". `card` holds the
    remaining fields of the head's card: key, title, created_at, source. Raises ConfigError for fewer than 20 pairs or 5
    prompts, or only ties.
    """
    usable = [tally for tally in tallies if tally.votes and {tally.clip_a, tally.clip_b} <= embeddings.keys()]
    prompts = {tally.prompt for tally in usable}
    if len(usable) < MIN_PAIRS or len(prompts) < MIN_PROMPTS:
        raise ConfigError(
            f"Training a reward head needs {MIN_PAIRS} pairs of {MIN_PROMPTS} prompts with votes and scored clips, but "
            f"got {len(usable)} pairs of {len(prompts)} prompts: vote more, or score the campaign's clips first."
        )
    if all(tally.score == 0.5 for tally in usable):
        raise ConfigError(f"All {len(usable)} pairs are ties, so there is nothing to learn.")
    vectors = {clip: concat(embedding) for clip, embedding in embeddings.items()}
    rows = np.stack([vectors[clip] for clip in sorted(vectors)])
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(std > MIN_SPREAD, std, np.inf)
    first = next(iter(embeddings.values()))
    sizes = {name: len(first[name]) for name in BLOCKS}
    data = _data(usable, {clip: standardise(row, mean, scale) for clip, row in vectors.items()}, sizes, seed)
    penalties = choose_penalties(data)
    members = _members(data, penalties, seed)
    scores = standardise(rows, mean, scale) @ members.mean(axis=0)
    accuracies = compare_accuracy(data, list(rewards))
    return RewardHead(
        card=HeadCard(
            **card,
            calibration=mix.calibration,
            backends=dict(mix.backends),
            rewards=tuple(rewards),
            sizes=sizes,
            penalties={"rewards": penalties[0], "networks": penalties[1]},
            prompts=len(prompts),
            pairs=len(usable),
            votes=int(data.votes.sum()),
            centre=float(np.median(scores)),
            spread=max(float(scores.std()), MIN_SPREAD),
            training_set=_hash(usable),
            **accuracies,
        ),
        mean=mean,
        scale=scale,
        weights=members,
    )


def fit(data: HeadData, penalties: tuple[float, float], counts: np.ndarray | None = None) -> np.ndarray:
    """Return the weights `[D]` with the highest penalised likelihood.

    `counts[P]` repeat the pairs (bootstrap). With fewer pairs than features the solution lies in the span of the pairs'
    differences, where it is searched.
    """
    votes = data.votes if counts is None else data.votes * counts
    root = np.sqrt(np.where(data.is_reward, penalties[0], penalties[1]))
    scaled = data.differences / root  # unit penalty in these coordinates
    left, singular, right = np.linalg.svd(scaled, full_matrices=False)
    kept = singular > singular.max(initial=0.0) * 1e-10
    inputs, basis = left[:, kept] * singular[kept], right[kept]
    return np.asarray(fit_weights(inputs, data.score, votes, penalty=1.0) @ basis / root)


def choose_penalties(data: HeadData) -> tuple[float, float]:
    """Return the penalties of rewards and networks with the highest cross-validated likelihood."""
    return max(
        itertools.product(REWARD_PENALTIES, NETWORK_PENALTIES), key=lambda penalties: _likelihood(data, penalties)
    )


def compare_accuracy(data: HeadData, rewards: Sequence[str]) -> dict[str, float | str | None]:
    """Return held-out accuracies for the head's card.

    They are those of the head, of a learned mix and of the best single reward. The mix has non-negative weights for the
    values of the rewards. The best reward is chosen on the training folds.
    """
    values = np.flatnonzero(data.is_reward)[: len(rewards)]
    hits: dict[str, list[np.ndarray]] = {"accuracy": [], "mix_accuracy": [], "best_reward_accuracy": []}
    for rest, fold in _folds(data):
        decided = fold.subset(fold.score != 0.5)
        if not len(decided.score):
            continue
        best = values[int(np.argmax([correct(column, rest.score).mean() for column in rest.differences.T[values]]))]
        logits = {
            "accuracy": decided.differences @ fit(rest, choose_penalties(rest)),
            "mix_accuracy": decided.differences[:, values] @ _fit_mix(rest, values),
            "best_reward_accuracy": decided.differences[:, best],
        }
        for name, found in logits.items():
            hits[name].append(correct(found, decided.score))
    means = {name: float(np.concatenate(parts).mean()) if parts else None for name, parts in hits.items()}
    whole = [correct(data.differences[:, column], data.score).mean() for column in values]
    return {**means, "best_reward": rewards[int(np.argmax(whole))] if len(rewards) else None}


def _members(data: HeadData, penalties: tuple[float, float], seed: int) -> np.ndarray:
    """Return the weights `[M,D]` of heads trained on bootstrap samples of the prompts."""
    random = np.random.default_rng(seed)
    num_prompts = int(data.prompt.max()) + 1
    drawn = [np.bincount(random.integers(num_prompts, size=num_prompts), minlength=num_prompts) for _ in range(MEMBERS)]
    return np.stack([fit(data, penalties, counts=counts[data.prompt].astype(float)) for counts in drawn])


def _fit_mix(data: HeadData, values: np.ndarray) -> np.ndarray:
    return fit_weights(data.differences[:, values], data.score, data.votes, penalty=1.0, non_negative=True)


def _likelihood(data: HeadData, penalties: tuple[float, float]) -> float:
    return sum(
        log_likelihood(fold.differences @ fit(rest, penalties), fold.score, fold.votes) for rest, fold in _folds(data)
    )


def _folds(data: HeadData) -> list[tuple[HeadData, HeadData]]:
    """Return (training part, held-out fold) for each fold."""
    return [(data.subset(rest), data.subset(fold)) for rest, fold in held_out_folds(data.fold)]


def _data(
    tallies: Sequence[PairTally], vectors: Mapping[str, np.ndarray], sizes: Mapping[str, int], seed: int
) -> HeadData:
    number = {name: position for position, name in enumerate(sorted({tally.prompt for tally in tallies}))}
    return HeadData(
        differences=np.stack([vectors[tally.clip_a] - vectors[tally.clip_b] for tally in tallies]),
        score=np.array([tally.score for tally in tallies]),
        votes=np.array([tally.votes for tally in tallies], float),
        prompt=np.array([number[tally.prompt] for tally in tallies]),
        fold=fold_numbers(tallies, seed),
        is_reward=np.concatenate([np.full(sizes[name], name == "rewards") for name in BLOCKS]),
    )


def _hash(tallies: Sequence[PairTally]) -> str:
    rows = sorted([tally.prompt, tally.clip_a, tally.clip_b, tally.votes, round(tally.score, 9)] for tally in tallies)
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
