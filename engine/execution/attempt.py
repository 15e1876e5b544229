"""The folder of a process, through which it is monitored and stopped, also from another machine.

FOLDER/
    log.txt            output of all attempts, in order
    process.json       the last attempt, and the handle by which its process is found again
    attempts/<id>/
        work.json      the command to run
        stop-<s>.json  a request to stop within that many seconds
        exit.json      the exit code; complete or absent

All communication is by these files, so a monitoring process needs only the folder; a cluster must share it.
"""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from engine.files.atomic import partial_file
from engine.files.path_property import PathProperty
from engine.hardware.job_environment import is_secret

LAST_BYTES = 2**16
TELLS = "--tells"  # asks the supervisor to save its own handle
GRACE_S = 120.0  # for the step that a training is in, and its checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A command with its folder, and `env`, which overrides variables of the machine; None removes one."""

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
        """Create an attempt and write its `work.json`, without secrets. Raises OSError.

        A process on this machine inherits the secrets; the machines of a cluster have their own.
        """
        attempt = cls(folder=folder, id=secrets.token_hex(4))
        attempt.place.mkdir(parents=True)
        env = {name: value for name, value in work.env.items() if not is_secret(name, value)}
        _write(attempt.place / "work.json", {**asdict(work), "env": env})
        return attempt

    @classmethod
    def at(cls, place: Path) -> Self:
        """Return the attempt whose files are in the folder `place`."""
        return cls(folder=place.parents[1], id=place.name)

    place = PathProperty(lambda self: self.folder / "attempts" / self.id)
    log = PathProperty(lambda self: self.folder / "log.txt")

    def work(self) -> ProcessSpec:
        return ProcessSpec(**json.loads((self.place / "work.json").read_bytes()))

    def ask_to_stop(self, grace_s: float) -> None:
        """Request a stop.

        Of several requests the shortest grace counts, so a later stop does not revoke a kill.
        """
        _write(self.place / f"stop-{grace_s:g}.json", {"grace_s": grace_s})

    def asked_to_stop(self) -> float | None:
        """Return the shortest grace requested, in seconds; None without a request."""
        requests = [_read(path) for path in self.place.glob("stop-*.json")]
        return min((float(request["grace_s"]) for request in requests if request is not None), default=None)

    def end(self, exit_code: int) -> None:
        _write(self.place / "exit.json", {"exit_code": exit_code})

    def exit_code(self) -> int | None:
        """Return the exit code as Popen does, negative for a signal; None if it has not been written."""
        facts = _read(self.place / "exit.json")
        return None if facts is None else int(facts["exit_code"])


def last_line(folder: Path) -> str:
    """Return the last line of the log; after a failure, usually its reason."""
    try:
        with (folder / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return lines[-1] if lines else "it wrote no output."


def last_attempt(folder: Path) -> Attempt | None:
    """Return the last attempt; None without one."""
    facts = kept_process(folder)
    return Attempt(folder=folder, id=str(facts["id"])) if facts and "id" in facts else None


def last_exit_code(folder: Path) -> int | None:
    """Return the exit code of the last attempt; None without one, or while its code is unknown."""
    attempt = last_attempt(folder)
    return attempt.exit_code() if attempt else None


def was_killed(folder: Path) -> bool:
    """Return True when the last attempt was ended at once on request."""
    attempt = last_attempt(folder)
    return attempt is not None and attempt.asked_to_stop() == 0 and (attempt.exit_code() or 0) < 0


def keep_process(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts that identify the folder's process; they replace those of an earlier process."""
    _write(folder / "process.json", facts)


def kept_process(folder: Path) -> dict[str, Any] | None:
    """Return those facts; None when no process was started here, or the file is damaged."""
    return _read(folder / "process.json")


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the file atomically, also against a power failure."""
    with partial_file(path, durable=True) as partial:
        partial.write_text(json.dumps(facts), encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
