"""A workbench that can be killed piece by piece: its page (started again at once), worker, attendants and trainers.

What a person would do with the mouse is done through the page's own server functions, over HTTP.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from engine.jobs.queue import JobQueue
from engine.jobs.worker_state import worker_state
from engine.storage.library import Library
from engine.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("page", "worker", "attendant", "trainer")
MODULES = {"attendant": "engine.execution.supervisor", "trainer": "engine.training.main"}


class PageGone(Exception):
    """The page does not answer: it was killed, or is still starting."""


class Workbench:
    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder / "workspace").prepare()
        self.queue = JobQueue(Library(self.workspace))
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "HF_HUB_OFFLINE": "1",
        }
        self._log = folder / "page.log"
        self._port = free_port()
        self._components: dict[str, int] = {}
        self._page = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "app", "--port", str(self._port), "--workspace", str(self.workspace.root)]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    # ---- What a person does on the page
    def call(self, component: str, function: str, argument: Any = "") -> Any:
        """Ask a component's server function. Raises PageGone, or AssertionError with the sentence that it answers."""
        answer = self._ask(
            "gradio_api/component_server/",
            {
                "session_hash": "storm",
                "component_id": self._component(component),
                "fn_name": function,
                "data": argument,
            },
        )
        assert not (isinstance(answer, dict) and answer.get("problem")), answer["problem"]
        return answer

    def answers(self) -> bool:
        try:
            self._component("train-board")
        except PageGone:
            return False
        return True

    def _component(self, name: str) -> int:
        """Its number, the same for each page that runs the same code."""
        if not self._components:
            found = self._ask("config")["components"]
            self._components = {one["props"].get("elem_id"): one["id"] for one in found}
        return self._components[name]

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as reply:
                return json.loads(reply.read())
        except (urllib.error.URLError, OSError) as error:
            raise PageGone(str(error)) from error

    # ---- What runs, and its end
    def victims(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind that live now, and belong to this workbench."""
        if kind == "page":
            return [psutil.Process(self._page.pid)] if self._page.poll() is None else []
        if kind == "worker":
            state = worker_state(self.workspace)
            return [psutil.Process(state.worker.pid)] if state else []
        return list(self._running(MODULES[kind]))

    def _running(self, module: str) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                words = process.cmdline()
                is_torchrun = "torch.distributed.run" in words
                mine = any(word.startswith(str(self.workspace.root)) for word in words)
                if module in words and mine and not is_torchrun and words[words.index(module) - 1] == "-m":
                    yield process

    def kill(self, kind: str, victim: psutil.Process) -> None:
        """As `kill -9`; a page is started again at once, and answers some seconds later."""
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        if kind == "page":
            self._page.wait()
            self._page = self._start()

    def end(self) -> None:
        """Nothing of it runs afterwards."""
        self._page.kill()
        self._page.wait()
        for kind in ("worker", "attendant", "trainer"):
            for process in self.victims(kind):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.queue.store.close()

    def remains(self) -> list[str]:
        """Attendants and trainers that still run."""
        deadline = time.monotonic() + 30
        while found := [*self.victims("attendant"), *self.victims("trainer")]:
            if time.monotonic() > deadline:
                return [f"{process.pid}: {' '.join(process.cmdline()[-3:])}" for process in found]
            time.sleep(0.2)
        return []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
