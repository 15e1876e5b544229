"""Curricula under way: a folder with one state file each, written whole or not at all. Imports no torch.

curricula/<id>/
    resolved.json    the preset, every key with its value; a curriculum goes on from this and the state alone
    state.json       where it is, and everything that was decided
    order            its place among the others, see engine.files.creation_order
    lock             held by the process that drives it

The runs of its stages lie beside all other runs, and the state names them.
"""

import hashlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from engine.config.curriculum_preset import CurriculumPreset
from engine.errors import ConfigError, StoreError
from engine.files.atomic import write_text_atomic
from engine.files.creation_order import newest_first, place_last
from engine.runs.results import AS_NUMBERS, Interval
from engine.workspace import Workspace

Verdict = Literal["pass", "fail", "unsure"]
Action = Literal["advance", "train_on", "step_back", "stop"]
Status = Literal["running", "done", "stopped"]


class ConditionResult(BaseModel):
    """One condition of a gate, and what was measured: `wanted` in words, such as "change of clip_vid >= -0.02"."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

    wanted: str
    measured: Interval | None
    verdict: Verdict


class GateResult(BaseModel):
    """What the gate said of a stage's attempt, and what follows; `sentence` tells a person why."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

    verdict: Verdict
    action: Action
    sentence: str
    conditions: tuple[ConditionResult, ...] = ()


class AttemptRecord(BaseModel):
    """One attempt at a stage: its run, and the gate's result once there is one. `stage` and `attempt` count from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

    stage: int
    attempt: int
    run: str
    num_frames: int
    result: GateResult | None = None


class CurriculumState(BaseModel):
    """Where a curriculum is. The last of `attempts` is under way while it has no result and `status` is "running".

    `start` is the run whose adapter the next attempt begins with; None is the base model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan=AS_NUMBERS)

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
        """A new curriculum. `key` names the request: sent again, it returns the curriculum that it created. When
        anything fails nothing of it is left."""
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
        """Remove a curriculum that was created and could not be filed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def find(cls, workspace: Workspace, curriculum_id: str) -> Self:
        """Raises ConfigError when the workspace has no such curriculum."""
        found = cls(workspace.curricula / curriculum_id)
        if curriculum_id != Path(curriculum_id).name or not found.resolved.is_file():
            known = ", ".join(one.id for one in list_curricula(workspace)) or "none yet"
            raise ConfigError(f"There is no curriculum '{curriculum_id[:80]}' in this workspace; there are: {known}.")
        return found

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def resolved(self) -> Path:
        return self.folder / "resolved.json"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

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

    def save(self, state: CurriculumState) -> None:
        write_text_atomic(self.state_file, state.model_dump_json(indent=2) + "\n")


def list_curricula(workspace: Workspace) -> list[Curriculum]:
    """The curricula of a workspace, the one created last first."""
    return [Curriculum(path.parent) for path in newest_first(workspace.curricula.glob("*/resolved.json"))]
