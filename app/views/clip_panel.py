"""What the Generate tab shows of finished takes, and the Library of one clip or of several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app.plots.scores import radar, reward_bars, timeline
from app.text import general
from app.views import clips
from app.views.scores import remarks, scores
from engine.storage.library import ClipRecord, Library

LETTERS = "ABCD"
COMPARED = len(LETTERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One clip, or a few side by side: values for a player, the facts, and the two plots (None: nothing to plot)."""

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
    """A clip with everything that is known of it; its scores are those of `mix`, or the newest when none is named."""
    report = store.report(record.id, mix)
    found = scores(report)
    return View(
        player=clips.player([record], prefetch),
        facts=clips.facts(record, actions, remarks(report)),
        bars=reward_bars([("", found)]),
        radar=radar([("", found)]),
        timeline=timeline(found),
    )


def several(store: Library, records: Sequence[ClipRecord], mix: str | None = None) -> View:
    """Two to four clips in step, their scores beside each other."""
    compared = records[:COMPARED]
    named = [(letter, scores(store.report(record.id, mix))) for letter, record in zip(LETTERS, compared, strict=False)]
    return View(player=clips.player(compared), facts=None, bars=reward_bars(named), radar=radar(named), timeline=None)


def takes(records: Sequence[ClipRecord], current: str | None) -> dict[str, Any]:
    """The strip of takes under the player; a single take needs none."""
    names = [f"{general.TAKE} {number}" for number in range(1, len(records) + 1)]
    cards = [clips.card(record, name) for record, name in zip(records, names, strict=True)]
    return {"cards": cards if len(cards) > 1 else [], "current": current}


def in_order(store: Library, clip_ids: Sequence[str]) -> list[ClipRecord]:
    """The clips of these ids that are still there, in this order."""
    known = store.existing(clip_ids)
    return [known[clip_id] for clip_id in dict.fromkeys(clip_ids) if clip_id in known]
