"""Revoked sessions, stored in a file next to the users file so that they survive a restart.

Each line has the expiry time of a session's token (seconds since the epoch) and its id. Expired tokens are removed only
once the file has many lines, because they become valid again if the clock is set back. Several processes may share the
file.
"""

import threading
import time
from pathlib import Path

from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.files.locks import locked

KEPT = 10_000  # sessions


class Revoked:
    """Thread-safe set of revoked sessions; reloads the file when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int, int] | None = None
        self._ids: dict[str, int] = {}
        self._lock = threading.Lock()

    def __contains__(self, session: str) -> bool:
        return session in self._read()

    def add(self, session: str, until: int) -> None:
        """Revoke a session. Raises ConfigError if the file cannot be written."""
        try:
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                ids = {**self._read(), session: until}
                if len(ids) > KEPT:
                    ids = {key: end for key, end in ids.items() if end > time.time() or key == session}
                self._write(ids)
        except OSError as error:
            raise ConfigError(f"The file {self.path} cannot be written: {error.strerror or error}.") from error

    def _read(self) -> dict[str, int]:
        """Return the revoked sessions. Raises ConfigError, so no one is admitted, if the file is unreadable."""
        try:
            with self._lock:
                stat = self.path.stat()
                at = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if self._read_at != at:
                    rows = (line.split() for line in self.path.read_text(encoding="ascii").splitlines())
                    self._ids = {session: int(until) for until, session in rows}
                    self._read_at = at
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"The file {self.path} of ended sessions cannot be read: fix or remove it.") from error
        return self._ids

    def _write(self, ids: dict[str, int]) -> None:
        lines = "".join(f"{until} {session}\n" for session, until in ids.items())
        write_text_atomic(self.path, lines, private=True)
