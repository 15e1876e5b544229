"""The folder that a started process fills, seen by those who start, watch and stop it, on this machine or another.

FOLDER/
    log.txt            what it said, one attempt after another
    process.json       the last attempt, and what finds its process again
    attempts/<id>/
        work.json      what to run
        stop-<s>.json  there when it shall stop within so many seconds
        exit.json      how it ended; whole or not there

Everything goes through these files, so whoever watches needs the folder and nothing else: a cluster has to share it.
"""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

LOG_CHUNK_BYTES = 2**20
LAST_BYTES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What is run: `env` is laid over the environment of the machine that runs it; None takes a variable away."""

    argv: Sequence[str]
    env: Mapping[str, str | None]
    cwd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One process, from its start to its end."""

    folder: Path
    id: str

    @classmethod
    def begin(cls, folder: Path, work: ProcessSpec) -> Self:
        """A new one, its work written down. Raises OSError."""
        attempt = cls(folder=folder, id=secrets.token_hex(4))
        attempt.place.mkdir(parents=True)
        _write(attempt.place / "work.json", asdict(work))
        return attempt

    @classmethod
    def at(cls, place: Path) -> Self:
        """The attempt whose files lie in `place`."""
        return cls(folder=place.parents[1], id=place.name)

    @property
    def place(self) -> Path:
        return self.folder / "attempts" / self.id

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def work(self) -> ProcessSpec:
        return ProcessSpec(**json.loads((self.place / "work.json").read_bytes()))

    def ask_to_stop(self, grace_s: float) -> None:
        """May be asked again: the least patience counts, so nobody who asks for a stop overrules a kill."""
        _write(self.place / f"stop-{grace_s:g}.json", {"grace_s": grace_s})

    def asked_to_stop(self) -> float | None:
        """How many seconds it may take to stop, by the least patient who asked; None while nobody asks."""
        found = [_read(path) for path in self.place.glob("stop-*.json")]
        return min((float(one["grace_s"]) for one in found if one is not None), default=None)

    def end(self, exit_code: int) -> None:
        _write(self.place / "exit.json", {"exit_code": exit_code})

    def exit_code(self) -> int | None:
        """As Popen gives it, negative for a signal; None while it has not ended, or if it was cut off."""
        found = _read(self.place / "exit.json")
        return None if found is None else int(found["exit_code"])


def read_log(folder: Path, offset: int) -> tuple[bytes, int]:
    """What the log has from this byte on (at most a mebibyte), and where to go on; one that became shorter: from 0."""
    try:
        with (folder / "log.txt").open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            start = log.seek(offset if offset <= size else 0)
            found = log.read(LOG_CHUNK_BYTES)
    except FileNotFoundError:
        return b"", 0
    return found, start + len(found)


def last_line(folder: Path) -> str:
    """The last that the process said: where it failed, why."""
    try:
        with (folder / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return lines[-1] if lines else "it said nothing."


def keep_process(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what finds the folder's process again; it replaces what was known of an earlier one."""
    _write(folder / "process.json", facts)


def kept_process(folder: Path) -> dict[str, Any] | None:
    """None when no process was started here, or what is known of it is damaged."""
    return _read(folder / "process.json")


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    """Whole or not at all, also when the machine loses its power."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
