"""Many labellers at a page that is killed: each votes over HTTP as a browser does, and sends a vote again until the
server says that it is stored."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from served_page import ROOT, free_port, wait_until_served

RETRY_S, TIMEOUT_S = 0.2, 30.0


class Page:
    """`python -m app` on one port, again and again."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.port = workspace, free_port()
        self.process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "app", "--port", str(self.port), "--workspace", str(self.workspace)]
        environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        wait_until_served(f"http://127.0.0.1:{self.port}/", self.process)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        self.kill()
        self.process = self._started()


@dataclass
class Crowd:
    """What the labellers did. `stored` has the uuids that the server said it has; `sent_again` how many votes had no
    answer at first."""

    port: int
    campaign: str
    votes_each: int
    stored: list[str] = field(default_factory=list)
    sent_again: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def vote(self, name: str) -> None:
        done = 0
        while done < self.votes_each and (pairs := self._ask("next", name)[0]["pairs"]):
            one = {"showing": pairs[0]["showing"], "choice": "left", "ms": 900}
            named = str(uuid.uuid4())
            _, tries = self._ask("vote", name, vote={**one, "client_uuid": named})
            done += 1
            with self.lock:
                self.stored.append(named)
                self.sent_again += tries > 1

    def _ask(self, verb: str, name: str, **fields: Any) -> tuple[Any, int]:
        """What the server says in the end, and how often it was asked. Raises RuntimeError when it refuses."""
        body = json.dumps({"campaign": self.campaign, "labeller": name, **fields})
        tries = 0
        while True:
            tries += 1
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            try:
                connection.request("POST", f"/voting/{verb}", body, {"content-type": "application/json"})
                reply = connection.getresponse()
                said = reply.read()
            except (OSError, http.client.HTTPException):
                time.sleep(RETRY_S)
                continue
            finally:
                connection.close()
            if reply.status == 200:
                return json.loads(said), tries
            if reply.status != 503:
                raise RuntimeError(f"The server refused a vote of {name}: {said.decode()[:200]}")
            time.sleep(RETRY_S)


def vote_through_kills(
    workspace: Path, campaign: str, names: Sequence[str], votes_each: int, kill_after: Sequence[int]
) -> Crowd:
    """Everybody votes at once; the page is killed and started again each time that so many votes are stored."""
    page = Page(workspace)
    crowd = Crowd(port=page.port, campaign=campaign, votes_each=votes_each)
    try:
        page.wait()
        with ThreadPoolExecutor(len(names)) as threads:
            working = [threads.submit(crowd.vote, name) for name in names]
            for count in kill_after:
                while len(crowd.stored) < count and not all(one.done() for one in working):
                    time.sleep(0.002)
                page.start_again()
            for one in working:
                one.result()
    finally:
        page.kill()
    return crowd
