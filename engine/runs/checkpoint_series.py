"""The checkpoints of a run, and the handling of damaged ones. Imports no torch.

checkpoints/
    checkpoint-<step>/       complete when it got its name; its manifest shows later damage
    rejected-<step>-<hex>/   a checkpoint that an alarm rolled back
    torn-<step>-<hex>/       a checkpoint that was found damaged when the run was resumed
    fallbacks.jsonl          one `Fallback` per line, for each damaged checkpoint
"""

import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.files.json_lines import append_line, whole_lines
from engine.files.manifests import MANIFEST, find_damage, has_all_files
from rewards.models import FrozenModel

CHECKPOINT, REJECTED, TORN = "checkpoint-", "rejected-", "torn-"
NAME = re.compile(rf"{CHECKPOINT}([0-9]{{1,15}})", re.ASCII)
STATE_FILE, IN_PARTS = "trainer_state.json", "shards"
NEEDED = (STATE_FILE, "scheduler.pt")
NEEDED_WHOLE = ("optimizer.pt", "trained.safetensors")
"""Also required unless the folder IN_PARTS contains the weights."""
RANDOM_STATES = "rng_state*.pth"

log = logging.getLogger(__name__)


def step_of(folder: Path) -> int | None:
    """Return the step in the name of a checkpoint's folder; None for any other name."""
    match = NAME.fullmatch(folder.name)
    return int(match[1]) if match else None


class Fallback(FrozenModel):
    """A damaged checkpoint at a resume, and the step of the checkpoint used instead (0: none)."""

    step: int
    why: str
    kept: str
    went_on_from: int

    @property
    def sentence(self) -> str:
        instead = f"resumed from step {self.went_on_from}" if self.went_on_from else "restarted"
        return f"The checkpoint of step {self.step} was damaged ({self.why}): the run {instead}."


@dataclass(frozen=True, slots=True)
class CheckpointSeries:
    """The checkpoints in one folder, which need not exist."""

    folder: Path

    def listed(self) -> list[Path]:
        """Return the checkpoints whose files all exist with their sizes, the oldest first.

        Contents are not read.
        """
        return [path for path in self._named() if (path / STATE_FILE).is_file() and has_all_files(path)]

    def newest_whole(self) -> Path | None:
        """Return the newest checkpoint whose files all match their checksums; None when there is none.

        Newer damaged ones are renamed, so that no run resumes from them, logged with a warning, and recorded in
        `fallbacks`.
        """
        torn: list[tuple[int, str, str]] = []
        for path in reversed(self._named()):
            why = damage(path)
            if why is None:
                self._record(torn, step_of(path) or 0)
                return path
            aside = self._set_aside(path, TORN)
            torn.append((step_of(path) or 0, why, aside))
            log.warning("The checkpoint %s is damaged (%s): it is kept as %s, and not used.", path.name, why, aside)
        self._record(torn, 0)
        if any(self.folder.glob(f"{TORN}*")):
            log.warning("The run in %s has no intact checkpoint: it restarts.", self.folder.parent)
        return None

    def reject(self, since: int) -> None:
        """Rename checkpoints of step `since` and later, so that no run resumes from them."""
        for path in self._named():
            if (step_of(path) or 0) >= since:
                self._set_aside(path, REJECTED)

    def fallbacks(self) -> list[Fallback]:
        """Return the damaged checkpoints that were replaced by older ones, in order.

        Unreadable lines are left out.
        """
        fallbacks = []
        for line in whole_lines(self._fallbacks_file):
            with suppress(ValueError):
                fallbacks.append(Fallback.model_validate_json(line))
        return fallbacks

    @property
    def _fallbacks_file(self) -> Path:
        return self.folder / "fallbacks.jsonl"

    def _record(self, torn: list[tuple[int, str, str]], went_on_from: int) -> None:
        for step, why, kept in torn:
            fallback = Fallback(step=step, why=why, kept=kept, went_on_from=went_on_from)
            append_line(self._fallbacks_file, fallback.model_dump_json())

    def _named(self) -> list[Path]:
        """Return the checkpoints' folders, ordered by step."""
        return [path for _, path in sorted(self._steps())]

    def _steps(self) -> Iterator[tuple[int, Path]]:
        for path in self.folder.glob(f"{CHECKPOINT}*"):
            step = step_of(path)
            if step is not None and path.is_dir():
                yield step, path

    def _set_aside(self, path: Path, prefix: str) -> str:
        """Rename the checkpoint and return its new name."""
        target = path.with_name(f"{prefix}{step_of(path)}-{secrets.token_hex(2)}")
        os.replace(path, target)
        return target.name


def damage(checkpoint: Path) -> str | None:
    """Return a checkpoint's damage as a clause; None when it is intact. Reads every file."""
    try:
        return find_damage(checkpoint) or _lacking(checkpoint)
    except OSError as error:
        return f"{error.filename or checkpoint} cannot be read: {error.strerror or error}"


def _lacking(checkpoint: Path) -> str | None:
    """Return a file that a checkpoint without a manifest lacks for an exact resume; None for none."""
    if (checkpoint / MANIFEST).is_file():
        return None
    in_parts = any(path.name == IN_PARTS for path in checkpoint.iterdir())
    needed = NEEDED if in_parts else (*NEEDED, *NEEDED_WHOLE)
    missing = next((name for name in needed if not (checkpoint / name).is_file()), None)
    if missing is None and not any(checkpoint.glob(RANDOM_STATES)):
        missing = RANDOM_STATES.replace("*", "")
    return f"{missing} is missing" if missing else None
