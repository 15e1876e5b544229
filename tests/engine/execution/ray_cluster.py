"""A Ray cluster of one node on loopback, for tests; its own processes, ended by their ids."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import pytest

has_ray = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not has_ray, reason="Ray is an extra: pip install -e '.[ray]'")
UP_S = 120.0
STORE_BYTES = 80 * 2**20
# Executes a command that the kernel ends when this process dies (PR_SET_PDEATHSIG): no cluster outlives its test.
MORTAL = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"


class Cluster:
    """`address` is that of its job server."""

    def __init__(self, address: str, head: "subprocess.Popen[bytes]") -> None:
        self.address, self._head = address, head

    @classmethod
    @contextmanager
    def started(cls, cpus: int = 2) -> Iterator[Self]:
        folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: Ray's sockets lie in it
        port, dashboard = free_port(), free_port()
        # fmt: off
        command = [
            sys.executable, "-c", MORTAL, sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
            "--node-ip-address=127.0.0.1",
            f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--num-cpus={cpus}",
            f"--object-store-memory={STORE_BYTES}", f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}", "--disable-usage-stats",
        ]
        # fmt: on
        quiet = {"RAY_AUTH_MODE": "disabled", "RAY_DISABLE_IMPORT_WARNING": "1", "PYTHONWARNINGS": "ignore"}
        with (folder / "head.txt").open("wb") as log:
            head = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **quiet})
        cluster = cls(f"http://127.0.0.1:{dashboard}", head)
        try:
            cluster._wait_until_up(folder / "head.txt")
            yield cluster
        finally:
            cluster.kill()
            shutil.rmtree(folder, ignore_errors=True)

    def kill(self) -> None:
        """All its processes at once, as when a machine loses its power."""
        own = [self._head.pid] if self._head.poll() is None else []
        processes = [one for pid in own for one in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]]
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._head.wait(20)
        psutil.wait_procs(processes, timeout=20)

    def _wait_until_up(self, log: Path) -> None:
        deadline = time.monotonic() + UP_S
        while time.monotonic() < deadline:
            assert self._head.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"{self.address}/api/jobs/", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"Ray was not up within {UP_S:g} s: {log.read_text()}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
