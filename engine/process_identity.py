"""Naming a process so that another program which gets its pid later is not taken for it."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

CLOCK_SLACK_S = 1.5  # the kernel gives the moment of boot in whole seconds, and shifts it when the clock is set


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process of one boot of one host. `started_s` is when it started, in seconds after the boot."""

    host: str
    boot_id: str
    pid: int
    started_s: float

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this pid now; None when there is none, or only a zombie."""
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
        """This process."""
        found = cls.of(os.getpid())
        assert found is not None, "this process runs"
        return found

    @property
    def is_local(self) -> bool:
        """Whether the process ran on this host, so that `lives` can tell."""
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Whether exactly this process still runs; only meaningful on its own host."""
        found = self.of(self.pid)
        return (
            found is not None
            and (found.host, found.boot_id) == (self.host, self.boot_id)
            and abs(found.started_s - self.started_s) < CLOCK_SLACK_S
        )


def _started_s(process: psutil.Process) -> float:
    """Seconds from the boot to the start of a process, by the kernel's own count: setting the clock changes nothing.

    psutil's moments are of the clock, and move with it. Raises psutil.NoSuchProcess.
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
    """What the kernel calls this boot; "" where it does not say."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""
