"""A workbench that was started as a person starts it, and a browser to look at it with."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, Request, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0
# No look-ups of the browser's own, and no sandbox where root runs it.
CHROMIUM_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


QUIET_S = 0.5


class OpenRequests:
    """Requests of a page that are not answered yet, without Gradio's event stream.

    Gradio's client may leave that stream open after the last event, so that "networkidle" of Playwright never comes.
    """

    def __init__(self, page: Page) -> None:
        self._page, self._open, self._changed = page, set[Request](), time.monotonic()
        page.on("request", self._begin)
        page.on("requestfinished", self._end)
        page.on("requestfailed", self._end)

    def wait(self, patience_s: float = 30.0) -> None:
        """Wait until no request was open for half a second. Raises TimeoutError after `patience_s`."""
        began = time.monotonic()
        self._changed = began
        while self._open or time.monotonic() < self._changed + QUIET_S:
            if time.monotonic() > began + patience_s:
                raise TimeoutError(f"not answered: {[request.url for request in self._open]}")
            self._page.wait_for_timeout(20)  # handles the events of the page

    def _begin(self, request: Request) -> None:
        if "/queue/data" not in request.url:
            self._open.add(request)
            self._changed = time.monotonic()

    def _end(self, request: Request) -> None:
        self._open.discard(request)
        self._changed = time.monotonic()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until_served(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the page answers. Raises RuntimeError when its process ends first or the deadline passes."""
    end = time.monotonic() + DEADLINE_S
    while not answers(url):
        if process.poll() is not None:
            raise RuntimeError(f"make app ended with exit code {process.returncode} before it served {url}.")
        if time.monotonic() > end:
            raise RuntimeError(f"make app did not serve {url} within {DEADLINE_S:.0f} s.")
        time.sleep(0.02)


@contextlib.contextmanager
def started_app(workspace: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`make app` on a free port in a process group of its own, which is gone afterwards; gives its address at once."""
    port = free_port()
    environment = {**os.environ, "DAILIES_WORKSPACE": str(workspace), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = ["make", "--no-print-directory", "app", f"PORT={port}"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=None
    )
    try:
        yield f"http://127.0.0.1:{port}/", process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Raises RuntimeError when it is not installed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise RuntimeError("This benchmark needs Chromium: apt-get install chromium, or set CHROMIUM to its path.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def scratch_workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dailies-bench-") as folder:
        yield Path(folder)
