"""Panels that show one clip, or several side by side, with their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app.plots.scores import radar, reward_bars, timeline
from app.views import clips
from app.views.scores import remarks, scores
from engine.storage.library import ClipRecord, Library

LETTERS = "ABCD"
MAX_COMPARED_CLIPS = len(LETTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Values for the player, the details and the plots of one or several clips (None: nothing to show)."""

    player: dict[str, Any]
    facts: dict[str, Any] | None
    bars: go.Figure | None
    radar: go.Figure | None
    timeline: go.Figure | None


NOTHING = View(player=clips.player([]), facts=None, bars=None, radar=None, timeline=None)


def one(
    store: Library,
    record: ClipRecord,
    actions: Sequence[str],
    prefetch: Sequence[ClipRecord] = (),
    mix: str | None = None,
) -> View:
    """Return the view of one clip with its scores by `mix`, or the newest scores if it is None."""
    report = store.report(record.id, mix)
    reward_scores = scores(report)
    return View(
        player=clips.player([record], prefetch),
        facts=clips.facts(record, actions, remarks(report)),
        bars=reward_bars([("", reward_scores)]),
        radar=radar([("", reward_scores)]),
        timeline=timeline(reward_scores),
    )


def several(store: Library, records: Sequence[ClipRecord], mix: str | None = None) -> View:
    """Return the view of two to four synchronised clips, with their scores side by side."""
    compared = records[:MAX_COMPARED_CLIPS]
    named = [(letter, scores(store.report(record.id, mix))) for letter, record in zip(LETTERS, compared, strict=False)]
    return View(player=clips.player(compared), facts=None, bars=reward_bars(named), radar=radar(named), timeline=None)


def best_first(records: Sequence[ClipRecord]) -> list[ClipRecord]:
    """Return the clips by score, the best one first; those without a score last."""
    return sorted(records, key=lambda record: -1.0 if record.total is None else record.total, reverse=True)


def takes(records: Sequence[ClipRecord], current: str | None) -> dict[str, Any]:
    """Return the value of the strip of variations under the player; it is empty for a single clip."""
    names = [f"#{number}" for number in range(1, len(records) + 1)]
    cards = [clips.card(record, name) for record, name in zip(records, names, strict=True)]
    return {"cards": cards if len(cards) > 1 else [], "current": current}


def in_order(store: Library, clip_ids: Sequence[str]) -> list[ClipRecord]:
    """Return the existing clips of these ids, in this order."""
    clips_by_id = store.existing(clip_ids)
    return [clips_by_id[clip_id] for clip_id in dict.fromkeys(clip_ids) if clip_id in clips_by_id]
