"""A workbench that really runs, on a free port with a workspace of its own, and a Chromium that looks at it.

Nothing outside this machine may be asked for, and nothing may be complained of in the console: every test's page is
watched for both.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from engine.clock import now
from engine.config.presets import load_preset
from engine.files.locks import try_lock
from engine.jobs.worker_state import worker_state
from engine.request import GenerationRequest
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace
from rewards import Clip, RewardReport, RewardResult
from rewards.calibration import mix_calibration
from tests.benchmarks.served_page import CHROMIUM_FLAGS, OpenRequests

START_S = 180.0  # a machine that is busy with other things takes long to load gradio
WAIT_MS = 120_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(autouse=True)
def in_a_browser(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("browser"), "tests of this folder are marked `browser`"


# ---- The workbench
@dataclass
class Workbench:
    """A page's process. `start` and `kill` may be called again and again; the address stays."""

    python: str
    root: Path
    folder: Path
    environment: dict[str, str]
    port: int
    arguments: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder)

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".page.log")

    def start(self) -> None:
        command = [self.python, "-m", "app", "--port", str(self.port), "--workspace", str(self.folder)]
        command += self.arguments
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=log, stderr=log)
        wait_until(self.answers, "the page answers", self)

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(self.address, timeout=5) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as refusal:
            return refusal.code == 401  # it asks who is there
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_worker(self) -> None:
        victim = self._worker()
        victim.kill()
        psutil.wait_procs([victim], timeout=30)

    @contextlib.contextmanager
    def paused_worker(self) -> Iterator[None]:
        """The worker stands still, so that what a test looks at meanwhile cannot be over before it looks.

        It is stopped while nobody but us may write to the database, or it could stop in the middle of a transaction.
        """
        worker, store = self._worker(), Library(self.workspace)
        with store.database.writing():
            worker.suspend()
        store.close()
        try:
            yield
        finally:
            worker.resume()

    def _worker(self) -> psutil.Process:
        state = worker_state(self.workspace)
        assert state is not None, "no worker runs"
        return psutil.Process(state.worker.pid)

    def end(self) -> None:
        """Page and worker are gone afterwards, however busy they or the machine are."""
        state, started = worker_state(self.workspace), list[psutil.Process]()
        with contextlib.suppress(psutil.NoSuchProcess):
            if self.process is not None:  # a worker that it just started has no state yet
                started += psutil.Process(self.process.pid).children(recursive=True)
            if state is not None:
                started.append(psutil.Process(state.worker.pid))
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def wait_until(done: Callable[[], bool], what: str, bench: Workbench) -> None:
    end = time.monotonic() + START_S
    while not done():
        assert time.monotonic() < end, f"not within {START_S:.0f} s: {what}\n{bench.log.read_text()[-2000:]}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def model_folder(root: Path) -> Path:
    """The embedded model; DAILIES_TEST_MODEL names another one of its shape while that is not trained."""
    folder = Path(os.environ.get("DAILIES_TEST_MODEL") or root / "assets" / "mini")
    if not (folder / "model_index.json").is_file():
        pytest.skip("assets/mini is not there yet: run `make mini`")
    return folder


@pytest.fixture(scope="session")
def benches() -> Iterator[list[tuple[Workbench, bool]]]:
    """All workbenches that were made and not ended yet, each with whether it stays after the file that made it."""
    made: list[tuple[Workbench, bool]] = []
    yield made
    for bench, _ in made:
        bench.end()


@pytest.fixture(scope="module", autouse=True)
def benches_end_with_their_file(benches: list[tuple[Workbench, bool]]) -> Iterator[None]:
    yield
    for bench, _ in [one for one in benches if not one[1]]:
        bench.end()
    benches[:] = [one for one in benches if one[1]]


@pytest.fixture(scope="session")
def new_workbench(
    python: str, root: Path, tmp_path_factory: pytest.TempPathFactory, benches: list[tuple[Workbench, bool]]
) -> Callable[..., Workbench]:
    """`new_workbench(presets=..., arguments=...)`: one with an empty workspace, started by the caller, with more words
    for `python -m app`, ended after the file, or after the session if it `stays`."""

    def make(presets: Path | None = None, arguments: Sequence[str] = (), *, stays: bool = False) -> Workbench:
        own = {
            "OMP_NUM_THREADS": "1",
            "DAILIES_WORKSPACE": "",
            **({"DAILIES_PRESETS": str(presets)} if presets else {}),
        }
        folder = tmp_path_factory.mktemp("bench") / "workspace"
        bench = Workbench(python, root, folder, {**os.environ, **own}, free_port(), tuple(arguments))
        benches.append((bench, stays))
        return bench

    return make


@pytest.fixture(scope="session")
def presets(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with short clips of few steps as its defaults: what the clips look like is not asked here."""
    folder = tmp_path_factory.mktemp("presets")
    (folder / "models").mkdir()
    quick = f'source = "{model_folder}"\nnum_frames = 17\nnum_steps = 4\n'
    (folder / "models" / "mini.toml").write_text(quick)
    return folder


@pytest.fixture(scope="session")
def studio(new_workbench: Callable[..., Workbench], presets: Path) -> Workbench:
    """A running workbench with a model; its worker stays warm from test to test."""
    bench = new_workbench(presets, stays=True)
    bench.start()
    return bench


@pytest.fixture(scope="session")
def archive(new_workbench: Callable[..., Workbench]) -> Workbench:
    """A running workbench with drawn clips in its library (see `ARCHIVED`)."""
    bench = new_workbench(stays=True)
    store = Library(bench.workspace)
    for index, (prompt, score) in reversed([*enumerate(ARCHIVED)]):  # the newest is added last
        add_clip(store, prompt, index, score)
    store.close()
    bench.start()
    return bench


# ---- What lies in the archive: frame t of clip i is one even grey, so that a picture tells which frame it is
HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{this}} `"
ARCHIVED = [
    ("a red circle moving left", 0.9),
    ("a red circle moving right", 0.4),
    ("a blue star bouncing", 0.7),
    ("a blue heart growing", None),
    ("a green cross at night", 0.1),
    (HOSTILE, 0.5),
]
NUM_FRAMES, GREY_STEP = 33, 7


def grey_of(index: int, frame: int) -> int:
    """The grey of a frame; odd clips run backwards."""
    return GREY_STEP * (frame if index % 2 == 0 else NUM_FRAMES - 1 - frame)


def add_clip(store: Library, prompt: str, index: int, score: float | None) -> ClipRecord:
    request = GenerationRequest(prompt=prompt, seed=1000 + index, num_frames=NUM_FRAMES)
    levels = np.array([grey_of(index, frame) for frame in range(NUM_FRAMES)], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (NUM_FRAMES, 64, 64, 3)).copy()
    save_clip(store.workspace, request.id, Clip(frames=frames, fps=8.0, prompt=prompt), request)
    record = store.add_clip(replace(ClipRecord.generated(request), created_at=now() - timedelta(minutes=index)))
    if score is not None:
        store.save_report(record.id, "mini", report(record.id, score).to_dict())
    return record


def report(clip_id: str, score: float) -> RewardReport:
    """One reward is the score; the other one is alike for all but the worst clips, which it likes best."""
    results = {
        "flow_smoothness": RewardResult(value=score, raw=0.4, per_frame=np.linspace(0, 1, NUM_FRAMES)),
        "structure_constancy": RewardResult(value=0.82 if score < 0.2 else 0.8, raw=0.01),
        "loop_break": RewardResult(value=None, reason="the clip is too short"),
    }
    weights = {"flow_smoothness": 0.5, "structure_constancy": 0.5}
    gates = {"motion": 1.0, "sharpness": 1.0, "cut": 1.0}
    return RewardReport(
        clip_id=clip_id,
        mix="mini",
        results=results,
        weights=weights,
        gates=gates,
        total=score,
        seconds={},
        calibration=mix_calibration(load_preset("rewards", "mini")),
    )


# ---- The browser
@dataclass
class Watched:
    """What a page did that it should not. A test that breaks something on purpose says what it is `expecting`."""

    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    requests: OpenRequests = field(init=False)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)
        self.requests = OpenRequests(page)

    @contextlib.contextmanager
    def expecting(self, pattern: str) -> Iterator[list[str]]:
        """What is complained of meanwhile and matches the pattern is no complaint, and is handed over at the end."""
        start, told = len(self.complaints), list[str]()
        yield told
        said = self.complaints[start:]
        told += [one for one in said if re.search(pattern, one)]
        self.complaints[start:] = [one for one in said if one not in told]

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """The page is left: Gradio complains of its own events that were under way, and of its streams that end."""
        with self.expecting("AbortError: signal is aborted without reason|Connection errored out|network error"):
            yield

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":  # Gradio itself warns while it uploads
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "blob:", "data:")):
            self.outside.append(request.url)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    seen = Watched()
    yield seen
    assert seen.outside == [], "the page asked another host"
    assert seen.complaints == [], "the console complains"


@pytest.fixture
def page(browser: Browser, watched: Watched) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    watched.watch(page)
    yield page
    with watched.leaving():
        context.close()


@pytest.fixture(scope="session")
def greys() -> Callable[[Page, str], list[int]]:
    """`greys(page, selector)`: of the videos there, the grey of the picture that each holds now, 0..255."""
    read = """videos => videos.map(video => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
      const paper = canvas.getContext('2d');
      paper.drawImage(video, 0, 0, 1, 1);
      return paper.getImageData(0, 0, 1, 1).data[0];
    })"""
    return lambda page, selector: [int(grey) for grey in page.locator(selector).evaluate_all(read)]


@pytest.fixture(scope="session")
def videos(root: Path) -> Path:
    """Real clips, where the checkout has them beside it."""
    folder = root.parent / "shared" / "videos"
    if not folder.is_dir():
        pytest.skip("shared/videos is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    import imageio_ffmpeg

    return str(shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture(scope="module")
def idle(new_workbench: Callable[..., Any]) -> Iterator[Any]:
    """A page whose jobs no worker takes: the worker's lock is held here."""
    bench = new_workbench()
    lock = try_lock(bench.workspace.prepare().worker_lock)
    assert lock is not None
    bench.start()
    yield bench
    os.close(lock)
