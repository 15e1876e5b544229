"""The container image starts a page that can be reached, and that asks who is there."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.__main__ import main
from app.auth.users import Users

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
STARTED = re.compile(r"Dailies is at http://[^:]+:(\d+)")
PASSWORD = re.compile(r"Log in as (\S+) with the password (\S+) ")


def command_on_this_machine(workspace: Path) -> list[str]:
    """The image's CMD with this interpreter, the test's folder as /workspace, and any free port."""
    (line,) = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if line.startswith("CMD ")]
    words = [word.replace("/workspace", str(workspace)) for word in json.loads(line.removeprefix("CMD "))]
    assert words[0] == "dailies"
    words[:1] = [sys.executable, "-m", "app.command"]
    words[words.index("--port") + 1] = "0"
    return words


@pytest.fixture
def container(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Return the log of the image's command until the page is up, and the page's address."""
    folder, log = tmp_path / "mounted", tmp_path / "log.txt"
    folder.mkdir()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command_on_this_machine(folder),
            cwd=ROOT,
            env={**os.environ, "DAILIES_WORKSPACE": str(folder)},
            stderr=file,
        )
    try:
        deadline = time.monotonic() + 120
        while not (started := STARTED.search(log.read_text(encoding="utf-8"))):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        yield log.read_text(encoding="utf-8"), f"http://127.0.0.1:{started[1]}"
    finally:
        process.terminate()
        process.wait(30)


def test_the_image_keeps_the_pytorch_of_its_base() -> None:
    """By the lines of the Makefile, which writes the versions that are there as constraints."""
    made, image = (path.read_text(encoding="utf-8") for path in (ROOT / "Makefile", DOCKERFILE))
    (kept,) = (line.strip() for line in image.splitlines() if "m.distributions()" in line)
    assert kept.partition(">")[0] in made


def test_the_command_of_the_image_serves_a_page_with_a_login(container: tuple[str, str]) -> None:
    log, address = container
    with httpx.Client(base_url=address, timeout=60) as client:
        refused = client.get("/config", headers={"accept": "application/json"})
        assert refused.status_code in (303, 401), refused.status_code
        name, password = PASSWORD.search(log).groups()  # type: ignore[union-attr]
        entered = client.post("/login", data={"name": name, "password": password})
        assert entered.status_code in (200, 303), entered.text
        assert client.get("/config").status_code == 200


def test_a_users_file_that_exists_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    users = tmp_path / "users.json"
    users.write_text("{}", encoding="utf-8")
    assert main(["--port", "0", "--auth", str(users), "--first-user", "admin"]) == 2  # the file is damaged
    assert users.read_text(encoding="utf-8") == "{}" and "password" not in caplog.text


def test_a_first_user_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "0", "--first-user", "admin"]) == 2
    assert "--auth FILE" in capsys.readouterr().err


def test_the_first_user_is_a_researcher_with_the_logged_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = tmp_path / "users.json"
    with caplog.at_level("WARNING", logger="app"):
        assert main(["--port", "99999", "--auth", str(users), "--first-user", "admin"]) == 2  # no such port
    _, password = PASSWORD.search(caplog.text).groups()  # type: ignore[union-attr]
    found = Users(users).check("admin", password)
    assert found is not None and found.role == "researcher"
    assert users.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", [".git", ".venv", "workspace", "users.json", "**/__pycache__"])
def test_the_images_leave_out_what_must_not_leave_the_machine(name: str) -> None:
    assert name in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("package", ["fastapi", "python-multipart", "starlette", "uvicorn"])
def test_what_serves_requests_has_a_tested_version(package: str) -> None:
    assert re.search(rf"^{package}==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
