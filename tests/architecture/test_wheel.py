"""The wheel holds the whole product: installed outside the checkout, its commands work."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START_S = 180


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the files that git tracks, as `pip wheel .` builds it in a clean clone."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if not name.startswith("tests/"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, timeout=600)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel. It sees the libraries of this environment, but not its editable install."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path file inside a folder that a path file names is not read, so the checkout stays invisible.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run([*command, "--force-reinstall"], check=True, timeout=600)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The variables of a new user: a home of their own, no path to the checkout."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DAILIES_"))}
    return {**names, "HOME": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def dailies(installed: Path, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [installed / "bin" / "dailies", *words],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[Path]:
    """A server process; yields the file that its log goes to."""
    log = folder / "serve.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=stream, stderr=stream)
        try:
            yield log
        finally:
            server.terminate()
            server.wait(60)


def get(url: str, log: Path) -> str:
    """Return the text of a page as soon as the server answers."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


def test_the_wheel_holds_every_file_of_the_product(wheel: Path, root: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    product = {
        name for name in tracked if name.startswith(("app/", "engine/", "rewards/", "presets/", "assets/", "docs/"))
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == product


def test_the_commands_work_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert "mini" in dailies(installed, tmp_path, "presets", "ls")
    words = ("generate", "a red circle moving right", "--frames", "9", "--steps", "2", "--mix", "mini", "--json")
    made = json.loads(dailies(installed, tmp_path, *words))
    assert "assets" not in os.listdir(tmp_path) and (tmp_path / "workspace" / "clips").is_dir(), made


def test_the_page_answers(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [str(installed / "bin" / "dailies"), "serve", "--port", str(port)]
    with running(command, tmp_path) as log:
        page, help = (get(f"http://127.0.0.1:{port}/{path}", log) for path in ("", "docs/index.md"))
    assert "Dailies" in page and "troubleshooting.md" in help
