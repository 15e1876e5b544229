"""Many clips under one mix: their order, how the rewards hang together, and which reward would choose otherwise.

What the browser holds (the table's rows) is enough to rank again: moving a weight asks no database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.text import general, score
from app.views import clips
from app.views.scores import spec_of
from engine.storage.library import ClipRecord
from rewards.mix import GateStrengths, Mix, combine

MIN_SHARED = 4  # clips that two rewards must both have scored before their correlation says anything

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingColumn:
    """One measure over all rows; NaN where a clip has no value. `key` is a reward's, or TOTAL."""

    key: str
    title: str
    values: np.ndarray


TOTAL = "total"
LEAST_FRAMES = 8  # of a clip that is ranked: in fewer, little can go wrong


def row(record: ClipRecord, report: Mapping[str, Any] | None, calibration: str) -> dict[str, Any]:
    """One clip of the table, not yet ranked; without a report it has no values.

    `calibration` is the present one of the mix: a report made with another is `old`.
    """
    results = report["results"] if report else {}
    return {
        **clips.card(record),
        "seed": record.seed,
        "model": record.model or general.IMPORTED,
        "values": {key: result["value"] for key, result in results.items()},
        "gates": dict(report["gates"]) if report else {},
        "unjudged": list(report.get("unjudged", ())) if report else [],
        "old": report is not None and report.get("calibration") != calibration,
        "short": record.num_frames < LEAST_FRAMES,
    }


def ranked(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, float], strengths: GateStrengths) -> Rows:
    """The rows with the total that these weights give, the best first; those without a total stand last.

    A total that does not compare with the others (of another calibration, of a prompt that a weighted reward cannot
    judge, or of a clip of a few frames) is told `apart`, with the reason, and the row has no `total`.
    """
    scored = [_totalled(one, combine(one["values"], weights, one["gates"], strengths).value, weights) for one in rows]
    return sorted(scored, key=lambda one: -1.0 if one["total"] is None else one["total"], reverse=True)


def _totalled(one: Mapping[str, Any], total: float | None, weights: Mapping[str, float]) -> dict[str, Any]:
    unjudged = [key for key in one.get("unjudged", ()) if weights.get(key, 0) > 0]
    reasons = [
        score.OLD_REPORT if one.get("old") else "",
        score.too_short(LEAST_FRAMES) if one.get("short") else "",
        score.unjudged([spec_of(key).title for key in unjudged]) if unjudged else "",
    ]
    why = next((reason for reason in reasons if reason), None)
    if total is None or why is None:
        return {**one, "total": total, "apart": None}
    return {**one, "total": None, "apart": {"total": f"({total:.2f})", "why": why}}


def table(rows: Rows, weights: Mapping[str, float], current: str | None = None) -> dict[str, Any]:
    """The value of a `ScoreTable`: a column a reward, rows as they rank."""
    columns = [{"key": key, "title": spec_of(key).title, "question": spec_of(key).question} for key in weights]
    return {"columns": columns, "rows": rows, "current": current, "empty": None if rows else empty()}


def empty() -> dict[str, str]:
    title, hint = general.TABLE_EMPTY
    return {"title": title, "hint": hint}


def sliders(mix: Mix, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The value of a `WeightSliders`: the mix's own weights, and what they are moved to."""
    shown = {key: weight for key, weight in mix.weights.items() if weight > 0}
    names = {key: {"title": spec_of(key).title, "question": spec_of(key).question} for key in shown}
    return {"mix": mix.key, "own": shown, "weights": {**shown, **(weights or {})}, "names": names}


def columns(rows: Rows, keys: Sequence[str]) -> list[RankingColumn]:
    """The rewards over the rows, and the total as the last column."""
    found = [
        RankingColumn(key=key, title=spec_of(key).title, values=_numbers([one["values"].get(key) for one in rows]))
        for key in keys
    ]
    total = RankingColumn(key=TOTAL, title=general.TOTAL, values=_numbers([one["total"] for one in rows]))
    return [*found, total]


def correlations(measures: Sequence[RankingColumn]) -> np.ndarray:
    """Spearman's rank correlation of every two columns, `float64[n,n]`; NaN where too few clips have both, or where one
    of the two does not vary."""
    return np.array([[_spearman(a.values, b.values) for b in measures] for a in measures])


def correlated(measures: Sequence[RankingColumn]) -> tuple[list[RankingColumn], np.ndarray]:
    """The columns that hang together with at least one other, and the correlations of those `float64[n,n]`."""
    values = correlations(measures)
    told = np.isfinite(values).sum(axis=1) > 1
    return [measure for measure, shown in zip(measures, told, strict=True) if shown], values[told][:, told]


def dissent(rows: Rows, measures: Sequence[RankingColumn]) -> list[dict[str, Any]]:
    """For each reward: the clip that it would choose, and how often it orders two clips otherwise than the total does.

    The reward that disagrees most comes first; one that scored fewer than two clips is left out.
    """
    *parts, total = measures
    found = [_dissent_of(part, total, rows) for part in parts if np.isfinite(part.values).sum() > 1]
    return sorted(found, key=lambda one: one["share"], reverse=True)


def _dissent_of(part: RankingColumn, total: RankingColumn, rows: Rows) -> dict[str, Any]:
    best, chosen = int(np.nanargmax(part.values)), int(np.nanargmax(np.nan_to_num(total.values, nan=-1.0)))
    share = otherwise(part.values, total.values)
    same = part.values[chosen] == part.values[best]
    return {
        "key": part.key,
        "title": part.title,
        "share": share,
        "agrees": bool(same),
        "id": rows[chosen if same else best]["id"],
        "poster": rows[chosen if same else best]["poster"],
        "sentence": general.dissent(part.title, rows[best]["prompt"], share, agrees=bool(same)),
    }


def otherwise(part: np.ndarray, total: np.ndarray) -> float:
    """The share of all pairs that both can tell apart (`float64[n]` each) which the two put in another order."""
    signs = np.sign(part[:, None] - part[None, :]) * np.sign(total[:, None] - total[None, :])
    told = np.triu(np.isfinite(signs) & (signs != 0), k=1)
    return float((signs[told] < 0).mean()) if told.any() else 0.0


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < MIN_SHARED:
        return float("nan")
    x, y = _ranks(a[both]), _ranks(b[both])
    spread = x.std() * y.std()
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    below = (values[:, None] > values[None, :]).sum(axis=1)
    equal = (values[:, None] == values[None, :]).sum(axis=1)
    return below + (equal - 1) / 2


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)
