"""The file that `dailies bench run` writes, and the comparison of two of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.files.text_files import text_of
from rewards.errors import first_problem
from rewards.models import FiniteModel, FrozenModel

FORMAT = 1


class Machine(FrozenModel):
    """Description of the machine that was measured."""

    device: str
    backend: str
    name: str
    memory_gib: float
    cores: int
    torch: str
    runtime: str
    python: str
    dailies: str


class Measurement(FiniteModel):
    """One measured quantity: the median of `repeats` values, with the lowest and the highest.

    `unit` is "s", "GiB", "TFLOP/s" or "ratio". Measurements with equal `name` and `settings` can be compared.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    repeats: int = Field(ge=1)
    settings: dict[str, str | int | float | bool | None] = Field({})


class BenchmarkReport(FrozenModel):
    """All measurements of one call of `dailies bench run`.

    `skipped` gives the reason for each missing part.
    """

    format: int = FORMAT
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    machine: Machine
    measurements: tuple[Measurement, ...]
    skipped: dict[str, str] = Field({})


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityChange:
    """One quantity in two reports.

    `ratio` is after / before; None: the quantity is missing, or has other settings.
    """

    name: str
    unit: str
    before: float | None
    after: float | None
    ratio: float | None
    overlaps: bool
    """True if the ranges of the two reports overlap, so that the difference may be noise."""


def write_report(path: Path, report: BenchmarkReport) -> None:
    """Write a report as JSON, atomically. Raises ConfigError if it cannot be written."""
    try:
        write_text_atomic(path, report.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"The report cannot be written to {path}: {error.strerror or error}.") from error


def read_report(path: Path) -> BenchmarkReport:
    """Read a report. Raises ConfigError for a file that is missing or is no report."""
    try:
        report = BenchmarkReport.model_validate_json(text_of(path))
    except ValidationError as error:
        raise ConfigError(f"{path} is not a report of `dailies bench run`: {first_problem(error)}.") from error
    if report.format != FORMAT:
        raise ConfigError(f"{path} has format {report.format}, but this version reads {FORMAT}: measure again.")
    return report


def compare(before: BenchmarkReport, after: BenchmarkReport) -> list[QuantityChange]:
    """Return the change of each quantity of two reports, in the order of the second one."""
    old, new = ({row.name: row for row in report.measurements} for report in (before, after))
    return [_change(name, old.get(name), new.get(name)) for name in dict.fromkeys([*new, *old])]


def _change(name: str, old: Measurement | None, new: Measurement | None) -> QuantityChange:
    shown = new or old
    assert shown is not None, "each name is in one of the reports"
    comparable = old is not None and new is not None and (old.unit, old.settings) == (new.unit, new.settings)
    ratio = new.value / old.value if comparable and old and new and old.value else None
    return QuantityChange(
        name=name,
        unit=shown.unit,
        before=old.value if old else None,
        after=new.value if new else None,
        ratio=ratio,
        overlaps=bool(comparable and old and new and old.low <= new.high and new.low <= old.high),
    )


def summary(values: Sequence[float]) -> dict[str, float | int]:
    """Return `value` (the median), `low`, `high` and `repeats` of at least one value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"value": median, "low": ordered[0], "high": ordered[-1], "repeats": len(ordered)}
