"""Penalised Bradley-Terry regression of votes on differences of features.

P(a is preferred) = sigmoid(w . (x_a - x_b)). A tie counts as half a vote for each clip. Shared by learned mixes and
reward heads.

SciPy takes half a second to import. The page imports this module when it starts, so functions import SciPy.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.labelling.preference_pairs import PairTally

FOLDS = 5


def log_likelihood(logits: np.ndarray, score: np.ndarray, votes: np.ndarray) -> float:
    """Return the log-likelihood of the votes; all arguments are `[P]`, `score` in 0..1."""
    from scipy.special import log_expit

    return float((votes * (score * log_expit(logits) + (1 - score) * log_expit(-logits))).sum())


def fit_weights(
    inputs: np.ndarray, score: np.ndarray, votes: np.ndarray, *, penalty: float, non_negative: bool = False
) -> np.ndarray:
    """Return the weights `[D]` with the highest penalised log-likelihood.

    The penalty is `penalty / 2` times the squared weights. `inputs[P,D]` are the differences of the features, clip a
    minus clip b.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = inputs @ weights
        slope = inputs.T @ (votes * (expit(logits) - score)) + penalty * weights
        return penalty / 2 * float((weights**2).sum()) - log_likelihood(logits, score, votes), slope

    size = inputs.shape[1]
    start, bounds = (np.full(size, 0.1), [(0, None)] * size) if non_negative else (np.zeros(size), None)
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x)


def correct(logits: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return `[P]` in 0..1: the agreement of the logits with the votes of each pair.

    It is 1 for a pair ranked as its votes rank it, 0 for the opposite, 0.5 if either is undecided.
    """
    return 0.5 + 0.5 * np.sign(logits) * np.sign(score - 0.5)


def fold_numbers(tallies: Sequence[PairTally], seed: int) -> np.ndarray:
    """Return `int[P]` in 0..FOLDS-1, the same for all pairs of a prompt."""
    prompts = sorted({tally.prompt for tally in tallies})
    order = np.random.default_rng(seed).permutation(len(prompts))
    fold = {prompt: int(position) % FOLDS for prompt, position in zip(prompts, order, strict=True)}
    return np.array([fold[tally.prompt] for tally in tallies])


def held_out_folds(fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the masks `bool[P]` of the training part and of the held-out fold."""
    for number in range(FOLDS):
        held_out = fold == number
        if held_out.any() and not held_out.all():
            yield ~held_out, held_out
