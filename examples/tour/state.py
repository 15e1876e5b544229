"""What a tour keeps in its workspace, beside the clips, votes and runs that its steps left there. Imports no torch.

tour.json      the journal: which step is done, what it made, how long it took
judged.json    what the judge says of clips, by clip id
report.html    made from all of it, at any time again
tour.lock      held by the process that makes the tour
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
    """One step. `seconds` is the time that it was worked on, over `begun` beginnings; `made` names what came of it."""

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
    """A tour under way. `machine` says in words and numbers where it was begun."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: TourSize
    began_at: datetime
    machine: dict[str, str | int]
    steps: tuple[StepRecord, ...] = ()

    def step(self, key: str) -> StepRecord:
        """What is known of a step; nothing yet, for one that was not begun."""
        return next((one for one in self.steps if one.key == key), StepRecord(key=key))

    def made(self, key: str) -> dict[str, Any]:
        """What a finished step made; nothing, before it is done."""
        return self.step(key).made

    def with_step(self, record: StepRecord) -> "Journal":
        """In the order in which steps were begun."""
        others = [one for one in self.steps if one.key != record.key]
        place = next((index for index, one in enumerate(self.steps) if one.key == record.key), len(others))
        return self.model_copy(update={"steps": (*others[:place], record, *others[place:])})


class TourFiles:
    """The tour's own files in a workspace."""

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
        """None before the tour was begun. Raises StoreError when the file is damaged."""
        try:
            return Journal.model_validate_json(self.journal_file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.journal_file} is damaged: {str(error).splitlines()[0]}") from error

    def keep(self, journal: Journal) -> None:
        write_text_atomic(self.journal_file, journal.model_dump_json(indent=2) + "\n")

    def judged(self) -> dict[str, float]:
        """The judge's scores 0..1 by clip id; clips of which it could say nothing are left out."""
        if not self.judged_file.is_file():
            return {}
        found: dict[str, float] = json.loads(self.judged_file.read_text(encoding="utf-8"))
        return found

    def keep_judged(self, scores: Mapping[str, float]) -> None:
        write_text_atomic(self.judged_file, json.dumps(dict(scores), indent=1) + "\n")
