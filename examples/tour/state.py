"""Files of a tour in its workspace, in addition to the clips, votes and runs. Imports no torch.

tour.json      the journal: the state, the result and the duration of each step
judged.json    the judge's scores by clip id
report.html    the report, which can be written again at any time
tour.lock      held by the process that runs the tour
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from engine.errors import StoreError
from engine.files.atomic import write_text_atomic
from engine.workspace import Workspace
from examples.tour.settings import TourSize


class StepRecord(BaseModel):
    """Record of one step.

    `begun` counts the starts, `seconds` is the run time over all of them, `made` is the result of the step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    begun: int = 0
    seconds: float = 0.0
    done_at: datetime | None = None
    made: dict[str, Any] = {}

    @property
    def is_done(self) -> bool:
        return self.done_at is not None

    def done(self, made: Mapping[str, Any]) -> "StepRecord":
        return self.model_copy(update={"done_at": datetime.now(UTC), "made": dict(made)})


class Journal(BaseModel):
    """Progress of a tour. `machine` describes the computer on which it was started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: TourSize
    began_at: datetime
    machine: dict[str, str | int]
    steps: tuple[StepRecord, ...] = ()

    def step(self, key: str) -> StepRecord:
        """Return the record of a step; an empty record if the step has not started."""
        return next((one for one in self.steps if one.key == key), StepRecord(key=key))

    def made(self, key: str) -> dict[str, Any]:
        """Return the result of a finished step; an empty dict before it is done."""
        return self.step(key).made

    def with_step(self, record: StepRecord) -> "Journal":
        """Return the journal with `record` added or replaced; records keep the order in which steps started."""
        others = [one for one in self.steps if one.key != record.key]
        place = next((index for index, one in enumerate(self.steps) if one.key == record.key), len(others))
        return self.model_copy(update={"steps": (*others[:place], record, *others[place:])})


class TourFiles:
    """Paths, readers and writers of the files of a tour in a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @property
    def journal_file(self) -> Path:
        return self.workspace.root / "tour.json"

    @property
    def judged_file(self) -> Path:
        return self.workspace.root / "judged.json"

    @property
    def report(self) -> Path:
        return self.workspace.root / "report.html"

    @property
    def lock(self) -> Path:
        return self.workspace.root / "tour.lock"

    def journal(self) -> Journal | None:
        """Return the journal; None if no tour was started here. Raises StoreError if the file is damaged."""
        try:
            return Journal.model_validate_json(self.journal_file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.journal_file} is damaged: {str(error).splitlines()[0]}") from error

    def keep(self, journal: Journal) -> None:
        write_text_atomic(self.journal_file, journal.model_dump_json(indent=2) + "\n")

    def judged(self) -> dict[str, float]:
        """Return the judge's scores in 0..1 by clip id, without the clips that it could not score."""
        if not self.judged_file.is_file():
            return {}
        found: dict[str, float] = json.loads(self.judged_file.read_text(encoding="utf-8"))
        return found

    def keep_judged(self, scores: Mapping[str, float]) -> None:
        write_text_atomic(self.judged_file, json.dumps(dict(scores), indent=1) + "\n")
