"""Training of reward heads: against a closed form, on planted preferences, and refusals."""

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.labelling.preference_pairs import PairTally
from engine.labelling.stats.reward_head import HeadData, compare_accuracy, fit, train_head
from rewards.heads.model import concat

REWARDS = ("framing", "aesthetic")
CARD = {"key": "likes", "title": "Likes", "created_at": datetime(2026, 1, 1, tzinfo=UTC), "source": "test"}


def planted(num_prompts: int, *, of_reward: float, of_network: float, seed: int = 0):
    """Return tallies and embeddings; labellers prefer by one reward and one direction of the video features."""
    random = np.random.default_rng(seed)
    embeddings, tallies = {}, []
    direction = random.normal(size=6)
    for number in range(num_prompts):
        for side in "ab":
            values = random.uniform(size=2)
            embeddings[f"{number}{side}"] = {
                "rewards": np.concatenate([values, [1.0, 1.0]]),
                "frames": random.normal(size=4),
                "agreement": random.normal(size=2),
                "video": random.normal(size=6),
            }
        gap = {name: embeddings[f"{number}a"][name] - embeddings[f"{number}b"][name] for name in ("rewards", "video")}
        logit = of_reward * gap["rewards"][0] + of_network * gap["video"] @ direction
        wins = float(random.uniform() < expit(logit))
        tallies.append(
            PairTally(
                pair_id=str(number),
                prompt=f"prompt {number}",
                clip_a=f"{number}a",
                clip_b=f"{number}b",
                entrant_a="x",
                entrant_b="y",
                votes=1,
                score=wins,
            )
        )
    return tallies, embeddings


def trained(tallies, embeddings, **others):
    return train_head(tallies, embeddings, mix=load_preset("rewards", "mini"), rewards=REWARDS, card=CARD, **others)


def test_fit_in_the_span_equals_the_full_optimisation():
    random = np.random.default_rng(0)
    data = HeadData(
        differences=random.normal(size=(9, 14)),
        score=random.integers(0, 3, size=9) / 2,
        votes=random.integers(1, 4, size=9).astype(float),
        prompt=np.arange(9),
        fold=np.arange(9) % 5,
        is_reward=np.arange(14) < 3,
    )
    penalty = np.where(data.is_reward, 0.5, 2.0)

    def loss(weights):
        logits = data.differences @ weights
        likelihood = data.votes * (data.score * log_expit(logits) + (1 - data.score) * log_expit(-logits))
        return -likelihood.sum() + (penalty * weights**2).sum() / 2

    expected = minimize(loss, np.zeros(14), method="BFGS", options={"gtol": 1e-8}).x
    assert fit(data, (0.5, 2.0)) == pytest.approx(expected, abs=1e-4)


def test_ties_pull_both_clips_together():
    data = HeadData(
        differences=np.eye(2),
        score=np.array([0.5, 1.0]),
        votes=np.ones(2),
        prompt=np.arange(2),
        fold=np.arange(2),
        is_reward=np.ones(2, bool),
    )
    weights = fit(data, (1.0, 1.0))
    assert weights[0] == pytest.approx(0, abs=1e-6)
    assert weights[1] == pytest.approx(expit(-weights[1]), abs=1e-5)  # the gradient of the penalised likelihood is 0


def test_head_gains_on_mixes_where_votes_follow_a_network_and_only_there():
    def gain(seed: int, of_network: float) -> float:
        card = trained(*planted(120, of_reward=1.0, of_network=of_network, seed=seed)).card
        return card.accuracy - max(card.mix_accuracy, card.best_reward_accuracy)

    assert np.mean([gain(seed, of_network=1.0) for seed in range(5)]) > 0.15
    assert abs(np.mean([gain(seed, of_network=0.0) for seed in range(5)])) < 0.1


def test_scores_of_a_head_follow_the_votes_and_the_best_reward_is_named():
    tallies, embeddings = planted(200, of_reward=4.0, of_network=3.0)
    head = trained(tallies, embeddings)
    assert head.card.best_reward == "framing"
    scores = {clip: head.score(embedding).raw for clip, embedding in embeddings.items()}
    right = [(scores[tally.clip_a] > scores[tally.clip_b]) == (tally.score == 1) for tally in tallies]
    assert np.mean(right) > 0.75


def test_votes_at_random_give_an_accuracy_near_chance():
    accuracies = [trained(*planted(60, of_reward=0.0, of_network=0.0, seed=seed)).card.accuracy for seed in range(6)]
    assert 0.4 < np.mean(accuracies) < 0.6


def test_same_votes_give_the_same_head_and_hash():
    tallies, embeddings = planted(30, of_reward=2.0, of_network=1.0)
    first, second = trained(tallies, embeddings), trained(tallies[::-1], embeddings)
    assert first.card.training_set == second.card.training_set
    assert trained(tallies, embeddings).weights == pytest.approx(first.weights)
    flipped = [*tallies[:-1], PairTally(**{**_fields(tallies[-1]), "score": 1 - tallies[-1].score})]
    assert trained(flipped, embeddings).card.training_set != first.card.training_set


def _fields(tally: PairTally) -> dict:
    return {name: getattr(tally, name) for name in PairTally.__dataclass_fields__}


def test_value_is_centred_on_the_training_clips():
    tallies, embeddings = planted(40, of_reward=2.0, of_network=1.0)
    head = trained(tallies, embeddings)
    values = [head.score(embedding).value for embedding in embeddings.values()]
    assert np.median(values) == pytest.approx(0.5, abs=0.02) and 0 < min(values) < max(values) < 1


def test_constant_features_count_as_nothing():
    tallies, embeddings = planted(30, of_reward=2.0, of_network=0.0)
    head = trained(tallies, embeddings)
    changed = {**embeddings["0a"], "rewards": np.array([*embeddings["0a"]["rewards"][:2], 0.0, 0.0])}
    assert head.score(changed).raw == head.score(embeddings["0a"]).raw
    assert len(concat(changed)) == len(head.mean)


def test_too_few_pairs_and_only_ties_are_refused():
    tallies, embeddings = planted(19, of_reward=1.0, of_network=0.0)
    with pytest.raises(ConfigError, match="20 pairs of 5 prompts.*19 pairs"):
        trained(tallies, embeddings)
    tallies, embeddings = planted(30, of_reward=1.0, of_network=0.0)
    ties = [PairTally(**{**_fields(tally), "score": 0.5}) for tally in tallies]
    with pytest.raises(ConfigError, match="30 pairs are ties"):
        trained(ties, embeddings)


def test_pairs_without_embeddings_are_left_out():
    tallies, embeddings = planted(30, of_reward=2.0, of_network=1.0)
    del embeddings["3b"]
    assert trained(tallies, embeddings).card.pairs == 29


def test_accuracies_without_decided_pairs_are_unknown():
    data = HeadData(
        differences=np.eye(2),
        score=np.full(2, 0.5),
        votes=np.ones(2),
        prompt=np.arange(2),
        fold=np.arange(2),
        is_reward=np.ones(2, bool),
    )
    assert compare_accuracy(data, ["framing"])["accuracy"] is None
