"""Votes and rewards: agreement by reward, pairs with margins, and a learned mix."""

from dataclasses import replace

import numpy as np
import pytest

from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.labelling.preference_pairs import preference_pairs, tally_pairs
from engine.labelling.stats.learned_mix import PENALTIES, learn_mix, save_mix
from engine.labelling.stats.reward_agreement import agreement_by_reward, scores_by_clip
from rewards.mix import read_mix

WEIGHTS = {"seam": 0.6, "t_lpips": 0.4, "aesthetic": 0.0}


@pytest.fixture(scope="module")
def people(a_vote):
    """Votes that follow 0.6 seam + 0.4 t_lpips with some noise, on 40 prompts, and the clips' scores."""
    rng = np.random.default_rng(0)
    scores, votes = {}, []
    for number in range(400):
        clips = (f"a{number}", f"b{number}")
        for clip in clips:
            scores[clip] = {key: float(rng.random()) for key in WEIGHTS}
        totals = [sum(WEIGHTS[key] * value for key, value in scores[clip].items()) for clip in clips]
        difference = totals[0] - totals[1] + rng.normal(0, 0.05)
        choice = "tie" if abs(difference) < 0.03 else "left" if difference > 0 else "right"
        sides = [(clip, f"m{rng.integers(4)}") for clip in clips]
        votes.append(a_vote(number, *sides, choice, pair=f"p{number}", prompt=f"prompt {number % 40}"))
    return votes, scores


def test_the_weights_behind_votes_are_found(people):
    votes, scores = people
    found = learn_mix(votes, scores, list(WEIGHTS))
    assert found.weights["seam"] == pytest.approx(0.6, abs=0.05)
    assert found.weights["t_lpips"] == pytest.approx(0.4, abs=0.05)
    assert found.weights["aesthetic"] < 0.05
    assert sum(found.weights.values()) == pytest.approx(1, abs=1e-3)
    assert found.accuracy > 0.85 and found.accuracy > found.equal_accuracy + 0.03
    assert (found.pairs, found.votes, found.left_out) == (400, 400, ())


def test_votes_on_one_prompt_are_trusted_least(people):
    """They cannot be cross-validated."""
    votes, scores = people
    found = learn_mix([replace(vote, prompt="a") for vote in votes], scores, list(WEIGHTS))
    assert (found.penalty, found.accuracy, found.equal_accuracy) == (max(PENALTIES), None, None)


def test_the_accuracy_is_that_of_penalties_chosen_without_the_held_out_votes(a_vote):
    """Rewards that are noise. The penalty that all folds prefer gets 40 of the 60 votes right, having seen them."""
    rng = np.random.default_rng(3)
    scores = {f"{side}{n}": {key: float(rng.random()) for key in "cdefgh"} for side in "ab" for n in range(60)}
    choices = [["left", "right"][rng.integers(2)] for _ in range(60)]
    votes = [a_vote(n, (f"a{n}", "x"), (f"b{n}", "y"), choice, prompt=f"p{n % 10}") for n, choice in enumerate(choices)]
    assert learn_mix(votes, scores, list("cdefgh")).accuracy == pytest.approx(39 / 60)


def test_a_reward_that_people_dislike_gets_no_weight(people):
    votes, scores = people
    turned = {clip: {**values, "framing": 1 - values["seam"]} for clip, values in scores.items()}
    assert learn_mix(votes, turned, ["t_lpips", "framing"]).weights["framing"] == 0


def test_ties_count(a_vote):
    """Two rewards agree on decided pairs; the one that also differs on ties gets less weight."""
    scores, votes = {}, []
    for n in range(60):
        decided = n % 2 == 0
        scores[f"a{n}"], scores[f"b{n}"] = ({"seam": 0.7, "framing": 0.7}, {"seam": 0.5, "framing": 0.5})
        if not decided:
            scores[f"a{n}"] = {"seam": 0.5, "framing": 0.9}
        votes.append(a_vote(n, (f"a{n}", "x"), (f"b{n}", "y"), "left" if decided else "tie", prompt=f"p{n % 6}"))
    found = learn_mix(votes, scores, ["seam", "framing"])
    assert found.weights["seam"] > 0.9


def test_a_missing_value_is_no_zero(people):
    votes, scores = people
    sparse = {clip: {**values, "novelty_after_k": None} for clip, values in scores.items()}
    found = learn_mix(votes, sparse, [*WEIGHTS, "novelty_after_k"])
    assert found.left_out == ("novelty_after_k",) and found.weights["novelty_after_k"] == 0
    assert found.weights["seam"] == pytest.approx(0.6, abs=0.05)


def test_a_learned_mix_is_a_preset_that_says_where_it_comes_from(people, tmp_path, monkeypatch):
    votes, scores = people
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path))
    base = load_preset("rewards", "mini")
    learned = learn_mix(votes, scores, list(WEIGHTS))
    file = save_mix(
        tmp_path / "rewards", "from_people", learned, base, {"campaign": "c0ffee", "title": 'a\x7f"b"\n# c'}
    )
    mix = load_preset("rewards", "from_people")
    assert mix == read_mix(file) and mix.weights == learned.weights
    assert (mix.gates, mix.calibration, mix.backends) == (base.gates, base.calibration, base.backends)
    assert "400 votes on 400 pairs" in mix.description and '# campaign: "c0ffee"' in file.read_text()
    with pytest.raises(ConfigError, match="already: choose another"):
        save_mix(tmp_path / "rewards", "from_people", learned, base, {})
    for bad in ("../escape", "", "a b"):
        with pytest.raises(ConfigError, match="letters, digits"):
            save_mix(tmp_path / "rewards", bad, learned, base, {})


def test_too_few_votes_teach_nothing(people):
    votes, scores = people
    with pytest.raises(ConfigError, match="needs 10 pairs or more .* got 5"):
        learn_mix(votes[:5], scores, list(WEIGHTS))


def test_ties_alone_teach_nothing(people, a_vote):
    _, scores = people
    ties = [a_vote(n, (f"a{n}", "x"), (f"b{n}", "y"), "tie", pair=f"p{n}", prompt=f"prompt {n}") for n in range(20)]
    with pytest.raises(ConfigError, match="All 20 pairs are ties"):
        learn_mix(ties, scores, list(WEIGHTS))


def test_rewards_are_measured_against_people(people):
    votes, scores = people
    turned = {clip: {**values, "framing": 1 - values["seam"], "flat": 0.5} for clip, values in scores.items()}
    found = {one.reward: one for one in agreement_by_reward(votes, turned)}
    assert [*found][:: len(found) - 1] == ["seam", "framing"]
    assert found["seam"].accuracy > 0.75 and found["framing"].accuracy == pytest.approx(1 - found["seam"].accuracy)
    assert found["seam"].tau == pytest.approx(-found["framing"].tau) and found["seam"].tau > 0.4
    assert found["flat"].accuracy == 0.5 and found["flat"].tau is None


def test_kendalls_tau_by_hand(a_vote):
    """Four pairs, people always for a; the reward for a three times, and once against.

    Both ways round that is 8 points: of 28 pairs of them 12 are tied for people and 2 for the reward, 13 agree and 1
    disagrees, so tau-b = 12 / sqrt(16 * 26).
    """
    votes = [a_vote(n, (f"a{n}", "x"), (f"b{n}", "y"), "left") for n in range(4)]
    scores = {f"a{n}": {"r": 0.5 + d} for n, d in enumerate((0.1, 0.2, 0.3, -0.1))} | {
        f"b{n}": {"r": 0.5} for n in range(4)
    }
    (found,) = agreement_by_reward(votes, scores)
    assert found.accuracy == 0.75 and found.pairs == 4
    assert found.tau == pytest.approx(12 / 416**0.5)


def test_the_mixs_total_is_one_of_the_rewards():
    report = {"total": 0.5, "results": {"seam": {"value": 0.25}, "framing": {"value": None}}}
    assert scores_by_clip({"a": report}) == {"a": {"seam": 0.25, "framing": None, "total": 0.5}}


def test_votes_become_pairs_with_margins(a_vote):
    def votes_on(pair, *choices):
        return [
            a_vote(10 * n, (f"a{pair}", "x"), (f"b{pair}", "y"), choice, labeller=f"l{n}", pair=pair)
            if n % 2
            else a_vote(10 * n, (f"b{pair}", "y"), (f"a{pair}", "x"), SWAPPED[choice], labeller=f"l{n}", pair=pair)
            for n, choice in enumerate(choices)
        ]

    votes = votes_on("clear", "left", "left", "left", "left") + votes_on("close", "right", "right", "right", "left")
    votes += votes_on("open", "left", "right") + votes_on("bad", "both_bad", "both_bad", "left")
    votes += votes_on("tied", "left", "tie") + votes_on("skipped", "skip")
    found = {pair.pair_id: (pair.chosen, pair.rejected, pair.margin, pair.votes) for pair in preference_pairs(votes)}
    assert found == {
        "clear": ("aclear", "bclear", 1.0, 4),
        "close": ("bclose", "aclose", 0.5, 4),
        "tied": ("atied", "btied", 0.5, 2),
    }
    assert [pair.pair_id for pair in preference_pairs(votes, min_margin=0.6)] == ["clear"]
    assert {pair.source for pair in preference_pairs(votes)} == {"human"}
    assert len(tally_pairs(votes)) == 5


SWAPPED = {"left": "right", "right": "left", "tie": "tie", "both_bad": "both_bad", "skip": "skip"}
