"""Adapters in the Generate form: rows of an adapter and its strength."""

from collections.abc import Mapping, Sequence
from typing import Any

Scales = Sequence[tuple[str, Any]]


def shown(adapters: Mapping[str, str], scales: Scales = ()) -> dict[str, Any]:
    """Return the value of `AdapterRows`: the model's adapters, and the chosen ones with their strengths.

    `adapters` are trigger texts by name.
    """
    rows = [{"name": name, "scale": scale} for name, scale in scales]
    triggers = {name: trigger for name, trigger in adapters.items() if trigger}
    return {"names": sorted(adapters), "triggers": triggers, "rows": rows}


def scales_in(value: Any) -> Scales:
    """Return names and strengths of the rows of an `AdapterRows`; the request checks them."""
    rows = value.get("rows", ()) if isinstance(value, dict) else ()
    return [(row["name"], row.get("scale")) for row in rows if isinstance(row, dict) and row.get("name")]


def are_rows(value: Any) -> bool:
    """Return True for a value that `AdapterRows` can show, as the browser kept it."""
    rows: Sequence[tuple[Any, Any]] = scales_in(value)
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(scale, int | float) for name, scale in rows
    )
