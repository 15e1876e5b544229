"""Sessions that were ended before their time: a file beside the users file, so that a restart does not revive them.

One line a session: the time at which its token expires anyway (seconds since the epoch), and its id. Once there are
many lines, those of expired tokens are left out when the file is next written: not before, since a token that is
expired now is valid again when the clock is set back. Several processes may share the file.
"""

import os
import tempfile
import threading
import time
from pathlib import Path

from engine.errors import ConfigError
from engine.files.locks import locked

KEPT = 10_000  # sessions


class Revoked:
    """Safe in many threads; read again whenever the file changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_at: tuple[int, int, int] | None = None
        self._ids: dict[str, int] = {}
        self._lock = threading.Lock()

    def __contains__(self, session: str) -> bool:
        return session in self._read()

    def add(self, session: str, until: int) -> None:
        """End a session. Raises ConfigError when that cannot be stored."""
        try:
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                ids = {**self._read(), session: until}
                if len(ids) > KEPT:
                    ids = {key: end for key, end in ids.items() if end > time.time() or key == session}
                self._write(ids)
        except OSError as error:
            raise ConfigError(f"The file {self.path} cannot be written: {error.strerror or error}.") from error

    def _read(self) -> dict[str, int]:
        """Raises ConfigError when the file is there and cannot be read: then nobody is let in."""
        try:
            with self._lock:
                found = self.path.stat()
                at = (found.st_mtime_ns, found.st_size, found.st_ino)
                if self._read_at != at:
                    rows = (line.split() for line in self.path.read_text(encoding="ascii").splitlines())
                    self._ids = {session: int(until) for until, session in rows}
                    self._read_at = at
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"The file {self.path} of ended sessions cannot be read: mend or remove it.") from error
        return self._ids

    def _write(self, ids: dict[str, int]) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")  # mode 0600
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.writelines(f"{until} {session}\n" for session, until in ids.items())
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, self.path)
