"""`PreflightCheck`, the result of a check before a run. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "unknown", "warning", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightCheck:
    """Result of a check: its name, its level, and one sentence with the measured value.

    The level is "unknown" where the data are too few to tell.

    `outside`: the cause of a "stop" is not in the run's fixed settings, so the run can be resumed once it is gone.
    """

    name: str
    level: Level
    sentence: str
    outside: bool = False
