"""Live telemetry of the machine's devices; it polls the server while it is visible."""

from typing import Any

from app.components.base import Component
from app.events import with_problem
from app.plots.scores import SERIES
from app.text import system as text
from app.views.system import telemetry
from engine.hardware.telemetry.monitor import TelemetryMonitor


class DeviceMonitor(Component):
    """Telemetry panel. While it is visible, the sampler takes a snapshot every few seconds."""

    def __init__(self, name: str, sampler: TelemetryMonitor, *, render: bool = True) -> None:
        def news(asked: Any = None) -> dict[str, Any]:
            since = float(asked.get("since", 0)) if isinstance(asked, dict) else 0.0
            return telemetry(sampler.history(), since)

        super().__init__(
            "device_monitor",
            words=text.TELEMETRY_WORDS,
            elem_id=name,
            server_functions=[with_problem(news)],
            render=render,
            colours=list(SERIES),
        )
