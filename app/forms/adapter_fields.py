"""Adapters in the Generate form: rows of an adapter and its strength."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.runs.adapters import list_adapters
from engine.runs.run_notes import adapter_title
from engine.workspace import Workspace

Scales = Sequence[tuple[str, Any]]


class OfferedAdapter(NamedTuple):
    """An adapter as the form shows it: its title, and the text that it was trained with, "" without one."""

    title: str
    trigger: str = ""


def offered_adapters(workspace: Workspace, model: str) -> dict[str, OfferedAdapter]:
    """Return the adapters for this model by name."""
    return {
        adapter.name: OfferedAdapter(adapter_title(workspace, adapter.name), adapter.card.trigger)
        for adapter in list_adapters(workspace, model)
    }


def shown(adapters: Mapping[str, OfferedAdapter], scales: Scales = ()) -> dict[str, Any]:
    """Return the value of `AdapterRows`: the model's adapters, and the chosen ones with their strengths."""
    rows = [{"name": name, "scale": scale} for name, scale in scales]
    titles = {name: adapter.title for name, adapter in adapters.items() if adapter.title != name}
    triggers = {name: adapter.trigger for name, adapter in adapters.items() if adapter.trigger}
    return {"names": sorted(adapters), "titles": titles, "triggers": triggers, "rows": rows}


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
