"""Models on the hub that cannot be had: said in one sentence, and soon. Nothing leaves this machine."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from engine.errors import FamilyError
from engine.families.loading import NETWORK, find_folder
from engine.families.registry import FAMILIES, family_class
from engine.hub import listing

SOON_S = 7.0
ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def clients_are_imported(tmp_path: Path) -> None:
    """Before the clock runs."""
    find_folder(str(tmp_path), NETWORK)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Downloads are on, and the hub is a server here: it answers each call with `request.param`, or never (None)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        held: list[socket.socket] = []
        thread = threading.Thread(target=answer, args=(server, request.param, held), daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)
    for connection in held:
        connection.close()


def answer(server: socket.socket, reply: bytes | None, held: list[socket.socket]) -> None:
    """Until the server is shut down; connections without an answer are held open."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        held.append(connection)
        if reply is not None:
            connection.recv(65536)
            connection.sendall(reply)
            connection.close()


def refused(source: str, key: str = "ltx") -> str:
    """The sentence, which comes soon."""
    family = family_class(key)(source)
    began = time.monotonic()
    with pytest.raises(FamilyError) as said:
        family.load("cpu", torch.float32)
    assert time.monotonic() - began < SOON_S
    assert "\n" not in str(said.value)
    return str(said.value)


@pytest.mark.parametrize("key", FAMILIES)
def test_what_is_not_in_the_cache_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.delenv("DAILIES_ALLOW_DOWNLOAD", raising=False)
    said = refused("nobody/not-on-this-machine", key)
    assert "downloads are off: name a folder that holds it in the preset, or set DAILIES_ALLOW_DOWNLOAD=1" in said


def test_downloads_that_the_environment_forbids_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE stands in every test's environment."""
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "1")
    assert "cannot be downloaded: HF_HUB_OFFLINE is set" in refused("nobody/not-on-this-machine")


@pytest.mark.parametrize("downloads", [None], indirect=True)
def test_a_hub_that_does_not_answer_is_not_waited_for(downloads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "TIMEOUT_S", 0.2)
    assert "'nobody/nothing' cannot be downloaded: " in refused("nobody/nothing")


@pytest.mark.parametrize("downloads", [ABSENT], indirect=True)
def test_a_hub_that_has_no_such_model_is_believed(downloads: None) -> None:
    said = refused("nobody/nothing")
    assert "is not on the hub" in said and "check the name" in said


def test_names_that_no_hub_has_are_told_as_such() -> None:
    assert "is neither a folder nor a hub id such as 'owner/name'" in refused("nobody/not a name!")
