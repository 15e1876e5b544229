"""`PreflightCheck`, the result of a check before a run. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightCheck:
    """Result of a check: its name, its level, and one sentence with the measured value."""

    name: str
    level: Level
    sentence: str
