"""The state of curricula: one folder each, with an atomically written state file. Imports no torch.

curricula/<id>/
    resolved.json    the preset with every key; a curriculum resumes from this and the state alone
    state.json       the current stage and all gate results
    order            its position among the others, see engine.files.creation_order
    lock             held by the process that runs it

The runs of its stages are in the workspace's `runs` folder, and the state has their ids.
"""

import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from engine.config.curriculum_preset import CurriculumPreset
from engine.errors import ConfigError, StoreError
from engine.files.atomic import write_text_atomic
from engine.files.creation_order import newest_first, place_last
from engine.files.locks import try_lock
from engine.files.path_property import PathProperty
from engine.runs.results import Interval, StoredModel
from engine.workspace import Workspace, is_name

Verdict = Literal["pass", "fail", "unsure"]
Action = Literal["advance", "train_on", "step_back", "stop"]
Status = Literal["running", "done", "stopped"]


class ConditionResult(StoredModel):
    """One condition of a gate and its measurement.

    `wanted` is a text such as "change of clip_vid >= -0.02".
    """

    wanted: str
    measured: Interval | None
    verdict: Verdict


class GateResult(StoredModel):
    """The gate's verdict on an attempt and the resulting action; `sentence` gives the reason."""

    verdict: Verdict
    action: Action
    sentence: str
    conditions: tuple[ConditionResult, ...] = ()


class AttemptRecord(StoredModel):
    """One attempt at a stage: its run, and later the gate's result. `stage` and `attempt` count from 0."""

    stage: int
    attempt: int
    run: str
    num_frames: int
    result: GateResult | None = None


class CurriculumState(StoredModel):
    """The progress of a curriculum. The last of `attempts` is running while it has no result.

    This requires `status` "running". `start` is the run with the initial adapter of the next attempt; None is the base
    model.
    """

    status: Status = "running"
    stage: int = 0
    attempt: int = 0
    start: str | None = None
    step_backs: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    sentence: str = "Not begun."

    @property
    def under_way(self) -> AttemptRecord | None:
        last = self.attempts[-1] if self.attempts else None
        return last if last is not None and last.result is None else None


@dataclass(frozen=True, slots=True)
class Curriculum:
    """A curriculum's folder and its files."""

    folder: Path

    @classmethod
    def create(cls, workspace: Workspace, preset: CurriculumPreset, key: str | None = None) -> Self:
        """Create a curriculum. On failure no part of it is left.

        `key` identifies the request: a repeated call returns the curriculum that the first one created.
        """
        digits = hashlib.sha256(key.encode()).hexdigest()[:12] if key else secrets.token_hex(3)
        made = cls(workspace.curricula / f"{preset.key}-{digits}")
        if key and made.resolved.is_file():
            return made
        try:
            made.folder.mkdir(parents=True, exist_ok=bool(key))
            made.save(CurriculumState())
            place_last(made.folder)
            write_text_atomic(made.resolved, preset.model_dump_json(indent=2) + "\n")  # without it the folder is none
        except OSError as error:
            made.discard()
            raise StoreError(f"The curriculum {made.folder} cannot be written: {error.strerror or error}.") from error
        return made

    def discard(self) -> None:
        """Remove a curriculum that was created but could not be submitted."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def find(cls, workspace: Workspace, curriculum_id: str) -> Self:
        """Return the curriculum with this id. Raises ConfigError for an unknown id."""
        curriculum = cls(workspace.curricula / curriculum_id)
        if not is_name(curriculum_id) or not curriculum.resolved.is_file():
            ids = ", ".join(existing.id for existing in list_curricula(workspace)) or "none yet"
            raise ConfigError(f"There is no curriculum '{curriculum_id[:80]}' in this workspace; there are: {ids}.")
        return curriculum

    @property
    def id(self) -> str:
        return self.folder.name

    resolved = PathProperty(lambda self: self.folder / "resolved.json")
    state_file = PathProperty(lambda self: self.folder / "state.json")
    lock = PathProperty(lambda self: self.folder / "lock")

    def preset(self) -> CurriculumPreset:
        """Raises StoreError when the file is damaged."""
        try:
            return CurriculumPreset.model_validate_json(self.resolved.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.resolved} is damaged: {str(error).splitlines()[0]}") from error

    def state(self) -> CurriculumState:
        """Raises StoreError when the file is damaged."""
        try:
            return CurriculumState.model_validate_json(self.state_file.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.state_file} is damaged: {str(error).splitlines()[0]}") from error

    def abandon(self) -> None:
        """End it without another attempt. Raises ConfigError if it is being run or is over."""
        lock = try_lock(self.lock)
        if lock is None:
            raise ConfigError(f"The curriculum {self.id} is being run: cancel its job first.")
        try:
            state = self.state()
            if state.status != "running":
                raise ConfigError(f"The curriculum {self.id} is over already: it is {state.status}.")
            self.save(state.model_copy(update={"status": "stopped", "sentence": "Abandoned."}))
        finally:
            os.close(lock)

    def save(self, state: CurriculumState) -> None:
        write_text_atomic(self.state_file, state.model_dump_json(indent=2) + "\n")


def list_curricula(workspace: Workspace) -> list[Curriculum]:
    """Return the curricula of a workspace, the newest first."""
    return [Curriculum(path.parent) for path in newest_first(workspace.curricula.glob("*/resolved.json"))]
