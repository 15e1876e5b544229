"""Filters and pages of the Library: form values to a `ClipFilter`, records to the value of the grid."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.text import general, score
from app.views.clips import card
from engine.clock import now
from engine.runs.run_notes import adapter_title
from engine.storage.library import ClipFilter, Library
from rewards import known_rewards, reward_spec

PAGE_SIZE = 48  # fills rows of 2, 3, 4, 6, 8 and 12 cards
FILTERS = ("text", "order", "date", "model", "adapter", "source", "score_from", "score_to", "starred")
BY_REWARD = "by:"  # before the key of a reward, in the choices of the order
ALL = ""  # choice of a dropdown that does not filter
AGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


def read_filter(values: Sequence[Any]) -> ClipFilter:
    """Read the values of the filter components, in the order of `FILTERS`.

    Empty values and the bounds 0 and 1 of the score do not filter.
    """
    named = dict(zip(FILTERS, values, strict=True))
    return ClipFilter(
        text=named["text"] or "",
        **_order(named["order"] or "newest"),
        model=named["model"] or None,
        adapter=named["adapter"] or None,
        source=named["source"] or None,
        starred=named["starred"] or None,
        min_total=named["score_from"] or None,
        max_total=None if named["score_to"] in (None, 1) else named["score_to"],
        **period(named["date"], now()),
    )


def _order(choice: str) -> dict[str, Any]:
    """Return the order of a choice of `orders`."""
    reward = choice.removeprefix(BY_REWARD)
    return {"best_by": reward} if reward != choice else {"order": choice}


def orders() -> list[tuple[str, str]]:
    """Return the choices of the order: time, total, and each reward that ranks."""
    fixed = [(label, key) for key, label in general.ORDERS.items()]
    return [*fixed, *((score.best_by(reward_spec(key).title), f"{BY_REWARD}{key}") for key in known_rewards())]


def period(choice: str, at: datetime) -> Mapping[str, Any]:
    """Return the bounds of creation time for a choice of `general.DATES`."""
    if choice in AGES:
        return {"since": at - AGES[choice]}
    return {"until": at - AGES["month"]} if choice == "before" else {}


def page(store: Library, which: ClipFilter, number: int = 0, removed: Sequence[str] = ()) -> dict[str, Any]:
    """Return page `number` (from 0) of the grid, or the last page if there are fewer.

    `removed` are clips that can be restored.
    """
    total = store.count(which)
    pages = max(1, -(-total // PAGE_SIZE))
    number = min(max(0, number), pages - 1)
    records = store.clips(which, offset=number * PAGE_SIZE, limit=PAGE_SIZE)
    return {
        "cards": [card(record) for record in records],
        "page": number,
        "pages": pages,
        "first": number * PAGE_SIZE + 1,
        "last": number * PAGE_SIZE + len(records),
        "total": total,
        "undo": {"ids": list(removed), "sentence": general.deleted(removed)} if removed else None,
        "empty": None if records else empty(which),
    }


def empty(which: ClipFilter) -> dict[str, str]:
    """Return the texts of an empty grid: an empty library, or a filter without results."""
    unfiltered = ClipFilter(order=which.order, best_by=which.best_by) == which
    title, hint = general.LIBRARY_EMPTY if unfiltered else general.NOTHING_FOUND
    return {"title": title, "hint": hint}


def adapter_choices(store: Library) -> list[tuple[str, str]]:
    """Return the choices of the filter by adapter; that of a run with a name has it."""
    return [
        (general.ANY_ADAPTER, ALL),
        *((adapter_title(store.workspace, name), name) for name in store.adapters()),
    ]


def choices(label: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the choices of a dropdown: all, then each name."""
    return [(label, ALL), *((name, name) for name in names)]
