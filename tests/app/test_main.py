"""Starting the server: a problem is one sentence and exit code 2, before slow imports."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.__main__ import bind, main, parse, url_of
from engine.errors import ConfigError
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_port_in_use_is_one_sentence(taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", str(taken_port)]) == 2
    said = capsys.readouterr().err.strip()
    assert f"cannot listen on 127.0.0.1:{taken_port}" in said and "--port" in said and "\n" not in said


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port", "-1"], ["--host", "no.such.host.invalid"]])
def test_an_address_that_cannot_be_is_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said and "\n" not in said and "Traceback" not in said


def test_a_workspace_that_cannot_be_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main(["--port", "0", "--workspace", str(tmp_path / "file" / "x")]) == 2
    said = capsys.readouterr().err.strip()
    assert "cannot be used" in said and "\n" not in said


def test_the_defaults_are_this_machine_only() -> None:
    assert (parse([]).host, parse([]).port) == ("127.0.0.1", 7860)


def test_port_0_takes_a_free_one() -> None:
    with bind("127.0.0.1", 0) as first, bind("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1]
    with pytest.raises(ConfigError):
        bind("127.0.0.1", 65536)


def test_refusing_needs_no_gradio(python: str, root: Path, taken_port: int) -> None:
    """A taken port is said within a moment: gradio alone takes seconds to load."""
    code = (
        f"import sys; from app.__main__ import main; main(['--port', '{taken_port}']); print('gradio' in sys.modules)"
    )
    done = subprocess.run([python, "-c", code], cwd=root, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr


def test_a_damaged_database_is_not_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The damage is deep enough for the database to open; the copy made before the start finds it."""
    workspace = Workspace(tmp_path / "w").prepare()
    store = Library(workspace)
    for number in range(200):
        store.add_clip(
            ClipRecord(
                id=f"{number:016x}", prompt="p" * 500, source="imported", num_frames=1, width=16, height=16, fps=8
            )
        )
    store.close()
    whole = workspace.database.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    workspace.database.write_bytes(whole[:middle] + b"\xff" * 4096 + whole[middle + 4096 :])
    assert main(["--port", "0", "--workspace", str(workspace.root)]) == 2
    said = capsys.readouterr().err.strip()
    assert "is damaged" in said and "dailies database restore" in said and "\n" not in said


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert url_of("::1", 7917) == "http://[::1]:7917" and url_of("127.0.0.1", 80) == "http://127.0.0.1:80"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--public-url", "https://box.example/dailies"], "root of its host"),
        (["--public-url", "box.example"], "is the address that browsers use"),
        (["--public-url", "https://user@box.example"], "is the address that browsers use"),
        (["--public-url", "https://box.example", "--proxy", "box"], "IP address or the network"),
        (["--proxy", "127.0.0.1"], "without --public-url"),
        (["--folder", "/no/such/folder"], "there is none at"),
    ],
)
def test_words_about_addresses_that_do_not_fit_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", "0", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and "\n" not in said
