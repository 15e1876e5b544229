"""The machine's devices, live and over time. It asks for news itself, only while somebody can see it."""

from typing import Any

from app.components.base import Component
from app.events import with_problem
from app.plots.scores import SERIES
from app.text import system as text
from app.views.system import telemetry
from engine.hardware.telemetry.monitor import TelemetryMonitor


class DeviceMonitor(Component):
    """Looking at it makes the sampler take a snapshot every few seconds."""

    def __init__(self, name: str, sampler: TelemetryMonitor, *, render: bool = True) -> None:
        def news(asked: Any = None) -> dict[str, Any]:
            since = float(asked.get("since", 0)) if isinstance(asked, dict) else 0.0
            return telemetry(sampler.look(), since)

        super().__init__(
            "device_monitor",
            words=text.TELEMETRY_WORDS,
            elem_id=name,
            server_functions=[with_problem(news)],
            render=render,
            colours=list(SERIES),
        )
