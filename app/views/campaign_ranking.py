"""Ranking of clips under a mix: their order, the correlation of rewards, and rewards that disagree.

The rows that the browser has are enough to rank again: changing a weight needs no database query.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.text import general, score
from app.views import clips
from app.views.scores import spec_of
from engine.storage.library import ClipRecord
from rewards.calibration import measures_alike
from rewards.mix import GateStrengths, Mix, combine, failed_rewards

MIN_SHARED = 4  # clips that both rewards must have scored for a correlation

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingColumn:
    """One measure over all rows, NaN for a clip without a value. `key` is a reward's, or TOTAL."""

    key: str
    title: str
    values: np.ndarray


TOTAL = "total"
LEAST_SHOWN = 0.005  # difference of two totals that the page tells apart
MIN_FRAMES = 8  # of a ranked clip: shorter clips have too few chances of defects


def row(record: ClipRecord, report: Mapping[str, Any] | None, calibration: str) -> dict[str, Any]:
    """Return one row of the table, not yet ranked. Without a report it has no values.

    `calibration` is the current one of the mix: a report with another one is `old`.
    """
    results = report["results"] if report else {}
    return {
        **clips.card(record),
        "seed": record.seed,
        "file": record.file or "",
        "stored": report["total"] if report else None,
        "model": clips.made_by(record) or general.IMPORTED,
        "values": {key: result["value"] for key, result in results.items()},
        "reasons": {key: general.reason(result["reason"]) for key, result in results.items() if result.get("reason")},
        "gates": dict(report["gates"]) if report else {},
        "unjudged": list(report.get("unjudged", ())) if report else [],
        "missing": list(report.get("missing", ())) if report else [],
        "old": report is not None and not measures_alike(report.get("calibration"), calibration),
        "short": record.num_frames < MIN_FRAMES,
    }


def ranked(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, float], strengths: GateStrengths) -> Rows:
    """Return the rows with their totals under these weights, best first; rows without a total come last.

    A total that is not comparable (another calibration, an external reward that failed, a prompt that a weighted reward
    cannot judge, or a clip of few frames) is given as `apart`, with the reason, and `total` is None.
    """
    scored = [
        _totalled(clip, combine(clip["values"], weights, clip["gates"], strengths).value, weights) for clip in rows
    ]
    return sorted(scored, key=lambda clip: -1.0 if clip["total"] is None else clip["total"], reverse=True)


def _totalled(clip: Mapping[str, Any], total: float | None, weights: Mapping[str, float]) -> dict[str, Any]:
    unjudged = [key for key in clip.get("unjudged", ()) if weights.get(key, 0) > 0]
    failed = failed_rewards(weights, clip.get("missing", ()))
    reasons = [
        score.OLD_REPORT if clip.get("old") else "",
        score.failed([spec_of(key).title for key in failed]) if failed else "",
        score.too_short(MIN_FRAMES) if clip.get("short") else "",
        score.unjudged([spec_of(key).title for key in unjudged]) if unjudged else "",
    ]
    reason = next((reason for reason in reasons if reason), None)
    if total is None or reason is None:
        return {**clip, "total": total, "apart": None}
    return {**clip, "total": None, "apart": {"total": f"({total:.2f})", "why": reason}}


def table(rows: Rows, weights: Mapping[str, float], failed: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return the value of a `ScoreTable`: a column for each reward, ranked rows, and failed files."""
    columns = [{"key": key, "title": spec_of(key).title, "question": spec_of(key).question} for key in weights]
    nothing = None if rows or failed else empty()
    return {"columns": columns, "rows": rows, "failed": list(failed), "empty": nothing}


def with_total(facts: dict[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the details of a clip with the total of its row, and with the stored total if it differs."""
    row = next((row for row in rows if facts and row["id"] == facts["id"]), None)
    if facts is None or row is None:
        return facts
    total, stored = row["total"], row["stored"]
    is_same = total is None or stored is None or abs(total - stored) < LEAST_SHOWN
    shown = row["apart"]["total"] if row["apart"] else general.score(total)
    more = {"stored": "" if is_same else score.stored(stored), "scored": total is not None}
    return {**facts, **more, "total": shown or general.NOT_SCORED}


def empty() -> dict[str, str]:
    title, hint = general.TABLE_EMPTY
    return {"title": title, "hint": hint}


def sliders(mix: Mix, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return the value of a `WeightSliders`: the weights of the mix, and the current ones."""
    shown = {key: weight for key, weight in mix.weights.items() if weight > 0}
    names = {key: {"title": spec_of(key).title, "question": spec_of(key).question} for key in shown}
    return {"mix": mix.key, "own": shown, "weights": {**shown, **(weights or {})}, "names": names}


def columns(rows: Rows, keys: Sequence[str]) -> list[RankingColumn]:
    """Return one column per reward, and the total as the last one."""
    rewards = [
        RankingColumn(key=key, title=spec_of(key).title, values=_numbers([clip["values"].get(key) for clip in rows]))
        for key in keys
    ]
    total = RankingColumn(key=TOTAL, title=general.TOTAL, values=_numbers([clip["total"] for clip in rows]))
    return [*rewards, total]


def correlations(measures: Sequence[RankingColumn]) -> np.ndarray:
    """Return Spearman's rank correlation of all pairs of columns, `float64[n,n]`.

    It is NaN if too few clips have both values, or if one of the two is constant.
    """
    return np.array([[_spearman(a.values, b.values) for b in measures] for a in measures])


def correlated(measures: Sequence[RankingColumn]) -> tuple[list[RankingColumn], np.ndarray]:
    """Return the columns with a correlation to at least one other, and their correlations `float64[n,n]`."""
    values = correlations(measures)
    is_correlated = np.isfinite(values).sum(axis=1) > 1
    return [measure for measure, shown in zip(measures, is_correlated, strict=True) if shown], values[is_correlated][
        :, is_correlated
    ]


def disagreements(rows: Rows, measures: Sequence[RankingColumn]) -> list[dict[str, Any]]:
    """Return the rewards that prefer another clip than the total, with that clip and the disagreement.

    Disagreement is the share of pairs that the reward orders differently. The largest disagreement comes first. Rewards
    that scored fewer than two clips are omitted.
    """
    *parts, total = measures
    measured = [_disagreement(part, total, rows) for part in parts if np.isfinite(part.values).sum() > 1]
    found = [item for item in measured if item is not None and item["share"] > 0]
    return sorted(found, key=lambda item: item["share"], reverse=True)


def _disagreement(part: RankingColumn, total: RankingColumn, rows: Rows) -> dict[str, Any] | None:
    best, chosen = int(np.nanargmax(part.values)), int(np.nanargmax(np.nan_to_num(total.values, nan=-1.0)))
    if part.values[chosen] == part.values[best]:
        return None
    share = disagreement_share(part.values, total.values)
    return {
        "key": part.key,
        "title": part.title,
        "share": share,
        "id": rows[best]["id"],
        "poster": rows[best]["poster"],
        "sentence": general.disagreement(part.title, rows[best]["prompt"], share),
    }


def disagreement_share(part: np.ndarray, total: np.ndarray) -> float:
    """Return the share of pairs that two columns `float64[n]` order differently, ties in either excluded."""
    signs = np.sign(part[:, None] - part[None, :]) * np.sign(total[:, None] - total[None, :])
    is_ordered = np.triu(np.isfinite(signs) & (signs != 0), k=1)
    return float((signs[is_ordered] < 0).mean()) if is_ordered.any() else 0.0


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < MIN_SHARED:
        return float("nan")
    from scipy.stats import rankdata

    x, y = rankdata(a[both]), rankdata(b[both])
    spread = x.std() * y.std()
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 0 else float("nan")


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
