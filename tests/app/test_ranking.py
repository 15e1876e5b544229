"""Many clips under one mix: order, correlation, and which reward would choose otherwise."""

from typing import Any

import numpy as np
import pytest

from app.text import general, score
from app.views import campaign_ranking
from app.views.campaign_ranking import RankingColumn
from engine.config.presets import load_preset
from engine.storage.library import ClipRecord
from rewards.mix import GateStrengths

OPEN = {"motion": 1.0, "sharpness": 1.0, "cut": 1.0}
KEYS = ("flow_smoothness", "loop_break")


def row(clip_id: str, *values: float | None, gates: dict[str, float] | None = None) -> dict[str, Any]:
    known = dict(zip(KEYS, values, strict=False))
    return {"id": clip_id, "prompt": f"clip {clip_id}", "poster": "", "values": known, "gates": gates or OPEN}


def ranks(weights: dict[str, float], *rows: dict[str, Any]) -> list[tuple[str, float | None]]:
    return [(one["id"], one["total"]) for one in campaign_ranking.ranked(rows, weights, GateStrengths())]


def test_weights_decide_the_order() -> None:
    rows = (row("a", 0.9, 0.2), row("b", 0.3, 0.8), row("c"))
    assert ranks({"flow_smoothness": 1, "loop_break": 1}, *rows)[0] == ("a", pytest.approx(0.55))
    assert ranks({"flow_smoothness": 1, "loop_break": 3}, *rows) == [
        ("b", pytest.approx(0.675)),
        ("a", pytest.approx(0.375)),
        ("c", None),
    ]
    assert [total for _, total in ranks(dict.fromkeys(KEYS, 0.0), *rows)] == [None, None, None]


def test_gates_lower_what_weights_cannot_buy_back() -> None:
    frozen = row("a", 1.0, 1.0, gates={**OPEN, "motion": 0.0})
    assert ranks(dict.fromkeys(KEYS, 1.0), frozen, row("b", 0.6, 0.6)) == [("b", 0.6), ("a", 0.5)]


def test_a_reward_that_does_not_apply_shares_its_weight() -> None:
    assert ranks(dict.fromkeys(KEYS, 1.0), row("a", 0.4, None)) == [("a", 0.4)]


def test_totals_that_do_not_compare_are_told_apart() -> None:
    unknown = {**row("a", 0.9, None), "unjudged": ["loop_break"]}
    older = {**row("b", 0.8, 0.8), "old": True}
    weights = dict.fromkeys(KEYS, 1.0)
    found = campaign_ranking.ranked([unknown, older, row("c", 0.4, 0.4)], weights, GateStrengths())
    assert [(one["id"], one["total"]) for one in found] == [("c", 0.4), ("a", None), ("b", None)]
    assert [one["apart"] and one["apart"]["total"] for one in found] == [None, "(0.90)", "(0.80)"]
    assert "cannot judge this prompt" in found[1]["apart"]["why"] and found[2]["apart"]["why"] == score.OLD_REPORT
    assert ranks({"flow_smoothness": 1.0, "loop_break": 0.0}, unknown, row("c", 0.4, 0.4))[0] == ("a", 0.9)
    failed = {**row("a", 0.9, 0.9), "missing": ["judge"]}
    (found,) = campaign_ranking.ranked([failed], {**weights, "judge": 1.0}, GateStrengths())
    assert found["total"] is None and found["apart"] == {"total": "(0.90)", "why": score.failed(["judge"])}


def test_a_clip_of_two_frames_is_not_ranked_beside_whole_ones() -> None:
    record = ClipRecord(id="a", prompt="", source="imported", num_frames=2, width=64, height=64, fps=8)
    assert campaign_ranking.row(record, None, "real-7")["short"]
    short = {**row("a", 0.9, 0.9), "short": True}
    found = campaign_ranking.ranked([short, row("b", 0.4, 0.4)], dict.fromkeys(KEYS, 1.0), GateStrengths())
    assert [(one["id"], one["total"]) for one in found] == [("b", 0.4), ("a", None)]
    assert found[1]["apart"] == {"total": "(0.90)", "why": score.too_short(8)}


def measures(rows: list[dict[str, Any]], weights: dict[str, float]) -> list[RankingColumn]:
    return campaign_ranking.columns(campaign_ranking.ranked(rows, weights, GateStrengths()), list(weights))


def test_correlations_are_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    x = rng.integers(0, 6, 40) / 5
    y = np.clip(x + rng.normal(0, 0.2, 40), 0, 1)
    found = campaign_ranking.correlations(
        [RankingColumn(key="x", title="x", values=x), RankingColumn(key="y", title="y", values=y)]
    )
    assert found[0, 1] == pytest.approx(spearmanr(x, y).statistic) and found[0, 0] == pytest.approx(1)


def test_too_few_clips_or_no_spread_have_no_correlation() -> None:
    rows = [row(str(n), n / 10, 0.5) for n in range(5)]
    found = campaign_ranking.correlations(measures(rows, dict.fromkeys(KEYS, 1.0)))
    assert found[0, 2] == pytest.approx(1) and np.isnan(found[0, 1])
    assert np.isnan(campaign_ranking.correlations(measures(rows[:3], dict.fromkeys(KEYS, 1.0)))).all()


def test_rewards_that_hang_together_with_nothing_are_left_out_of_the_matrix() -> None:
    rows = [row(str(n), n / 10, 0.5) for n in range(5)]
    shown, values = campaign_ranking.correlated(measures(rows, dict.fromkeys(KEYS, 1.0)))
    assert [measure.key for measure in shown] == ["flow_smoothness", campaign_ranking.TOTAL] and values.shape == (2, 2)
    assert campaign_ranking.correlated(measures(rows[:3], dict.fromkeys(KEYS, 1.0)))[0] == []


def test_the_reward_that_would_choose_otherwise_is_named() -> None:
    rows = [row("a", 0.9, 0.1), row("b", 0.5, 0.5), row("c", 0.1, 0.6)]
    weights = {"flow_smoothness": 3.0, "loop_break": 1.0}
    ranked = campaign_ranking.ranked(rows, weights, GateStrengths())
    (loop,) = campaign_ranking.disagreements(ranked, campaign_ranking.columns(ranked, list(weights)))
    assert (loop["key"], loop["id"], loop["share"]) == ("loop_break", "c", 1.0)
    assert "prefers “clip c”; it disagrees on 100% of pairs" in loop["sentence"]


def test_pairs_that_cannot_be_told_apart_do_not_count() -> None:
    assert campaign_ranking.disagreement_share(np.array([1, 1, np.nan]), np.array([0.1, 0.2, 0.3])) == 0
    assert campaign_ranking.disagreement_share(np.array([1.0, 0.0, 0.5]), np.array([0.1, 0.2, 0.2])) == 1


def test_the_sliders_stand_at_the_mixs_weights_or_where_they_were_moved() -> None:
    mix = load_preset("rewards", "mini")
    value = campaign_ranking.sliders(mix, {"loop_break": 0.0})
    assert value["own"] == {key: weight for key, weight in mix.weights.items() if weight > 0}
    assert value["weights"] == {**value["own"], "loop_break": 0.0}
    assert value["names"]["loop_break"]["question"].endswith("?")


def test_an_empty_table_says_what_to_do() -> None:
    assert campaign_ranking.table([], {})["empty"]["title"] == general.TABLE_EMPTY[0]
