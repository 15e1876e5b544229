"""Identity of a process that stays unique when the kernel reuses its pid."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

CLOCK_SLACK_S = 1.5  # the kernel reports the boot time in whole seconds, and shifts it when the clock is set


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process of one boot of one host. `started_s` is its start time in seconds after the boot."""

    host: str
    boot_id: str
    pid: int
    started_s: float

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the identity of the process that has this pid now; None for no process or a zombie."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            started_s = _started_s(process)
        except psutil.NoSuchProcess:
            return None
        return cls(host=socket.gethostname(), boot_id=boot_id(), pid=pid, started_s=round(started_s, 2))

    @classmethod
    def current(cls) -> Self:
        """Return the identity of the calling process."""
        identity = cls.of(os.getpid())
        assert identity is not None, "this process runs"
        return identity

    @property
    def is_local(self) -> bool:
        """True for a process of this host; only then is `is_alive` meaningful."""
        return self.host == socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """True while exactly this process runs; meaningful on its own host only."""
        current = self.of(self.pid)
        return (
            current is not None
            and (current.host, current.boot_id) == (self.host, self.boot_id)
            and abs(current.started_s - self.started_s) < CLOCK_SLACK_S
        )


def _started_s(process: psutil.Process) -> float:
    """Return the seconds from the boot to the start of a process, as the kernel counts them.

    Setting the system clock does not change this count, while it shifts psutil's times. Raises psutil.NoSuchProcess.
    """
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        if Path("/proc/self/stat").exists():
            raise psutil.NoSuchProcess(process.pid) from error
        return float(process.create_time() - psutil.boot_time())
    ticks = stat.rpartition(")")[2].split()[19]  # proc(5): field 22, starttime; the name before it may hold anything
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def boot_id() -> str:
    """Return the kernel's id of this boot; "" where the kernel gives none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
