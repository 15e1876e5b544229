"""Downloads by the real client from a hub on loopback: resumed, verified, cancelled, refused."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from engine.errors import HubAccessError, HubError
from engine.hub.cached import cached_b, find_damaged, is_complete, remove
from engine.hub.download import DownloadPlan, download, plan_download
from engine.hub.repository import HubSource
from engine.hub.selection import Needs
from tests.stub_hub import TOKEN, StubHub

NAME, LARGE, SIZE_B = "owner/model", "transformer/diffusion_pytorch_model.safetensors", 300_000
SOURCE = HubSource(repository=NAME)
NEEDS = Needs(parts=("transformer",), files=("model_index.json",))
SOON_S = 5.0


def plan(token: str | None = None) -> DownloadPlan:
    return plan_download(SOURCE, NEEDS, token)


def blob(suffix: str = "") -> Path:
    (file,) = [file for file in plan().files if file.path == LARGE]
    return SOURCE.cache_folder / "blobs" / (file.digest + suffix)


def test_only_the_needed_files_arrive_and_the_cache_is_the_clients_own(hub: StubHub) -> None:
    planned, seen = plan(), []
    assert planned.remaining_b == planned.size_b > SIZE_B
    (folder,) = download((planned,), lambda done, total: seen.append((done, total)))
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"model_index.json", "transformer/config.json", LARGE}
    assert (folder / LARGE).read_bytes() == (hub.repositories[NAME] / LARGE).read_bytes()
    assert seen[-1] == (planned.size_b, planned.size_b) and [done for done, _ in seen] == sorted(
        done for done, _ in seen
    )
    assert is_complete(SOURCE, NEEDS) and plan().remaining_b == 0
    from huggingface_hub import snapshot_download

    constants.HF_HUB_OFFLINE = True
    assert snapshot_download(NAME) == str(folder)


def test_a_cut_connection_is_continued_where_it_ended(hub: StubHub) -> None:
    hub.cut[LARGE] = 100_000
    download((plan(),))
    starts = [start for path, start in hub.ranges if path == LARGE]
    assert starts[0] == 0 and starts[1] > 90_000, starts
    assert find_damaged(SOURCE, NEEDS) == []


def test_a_busy_hub_is_asked_again(hub: StubHub) -> None:
    hub.busy[LARGE] = 1
    download((plan(),))
    assert is_complete(SOURCE, NEEDS)


def test_a_hub_that_limits_requests_is_one_sentence(hub: StubHub) -> None:
    hub.busy["info"] = 9
    with pytest.raises(HubError, match=r"limits the rate of requests for 'owner/model' \(429\): try again"):
        plan()


def test_wrong_content_once_is_downloaded_again(hub: StubHub) -> None:
    hub.wrong[LARGE] = 1
    seen: list[int] = []
    download((plan(),), lambda done, total: seen.append(done))
    assert find_damaged(SOURCE, NEEDS) == [] and seen[-1] == plan().size_b


def test_wrong_content_twice_is_never_installed(hub: StubHub) -> None:
    hub.wrong[LARGE] = 2
    with pytest.raises(HubError, match=r"arrived with another checksum than the hub lists .* was deleted"):
        download((plan(),))
    assert not blob().exists() and not blob(".incomplete").exists() and not is_complete(SOURCE, NEEDS)


@pytest.mark.parametrize("start", [b"x" * 1000, b"y" * (SIZE_B + 1)])
def test_a_partial_file_with_other_content_is_replaced(hub: StubHub, start: bytes) -> None:
    partial = blob(".incomplete")
    partial.parent.mkdir(parents=True)
    partial.write_bytes(start)
    download((plan(),))
    assert find_damaged(SOURCE, NEEDS) == []


def test_a_cancelled_download_is_resumed(hub: StubHub) -> None:
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        if done > 100_000:
            raise Cancelled

    with pytest.raises(Cancelled):
        download((plan(),), cancel)
    kept = blob(".incomplete").stat().st_size
    assert kept > 50_000 and cached_b(SOURCE) and not is_complete(SOURCE, NEEDS)
    assert plan().remaining_b < SIZE_B
    hub.ranges.clear()
    download((plan(),))
    assert (LARGE, kept) in hub.ranges and find_damaged(SOURCE, NEEDS) == []


PROGRAM = f"""
from huggingface_hub import constants
constants.DOWNLOAD_CHUNK_SIZE = 4096
from engine.hub.download import download, plan_download
from engine.hub.repository import HubSource
from engine.hub.selection import Needs
download((plan_download(HubSource(repository={NAME!r}), Needs(parts=("transformer",), files=("model_index.json",))),))
"""


def test_a_killed_download_is_resumed(hub: StubHub, tmp_path: Path, cache: Path) -> None:
    hub.hold[LARGE] = 200_000
    environment = {**os.environ, **hub.environment(tmp_path / "home"), "HF_HUB_CACHE": str(cache)}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment)
    try:
        assert hub.held.wait(60)
        partial, deadline = blob(".incomplete"), time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > 100_000):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    hub.released.set()
    kept = partial.stat().st_size
    hub.ranges.clear()
    download((plan(),))
    assert (LARGE, kept) in hub.ranges and find_damaged(SOURCE, NEEDS) == []


def test_a_gated_repository_needs_a_token(hub: StubHub) -> None:
    hub.gated.add(NAME)
    assert plan().listing.gated
    for token in (None, "hf_" + "x" * 34):
        with pytest.raises(HubAccessError, match=r"'owner/model' is gated: accept its licence at http.*/owner/model"):
            download((plan(token),), token=token)
    download((plan(TOKEN),), token=TOKEN)
    assert is_complete(SOURCE, NEEDS)


def test_names_and_revisions_that_the_hub_does_not_have(hub: StubHub) -> None:
    with pytest.raises(HubAccessError, match="'owner/other' is not on the hub, or it is private"):
        plan_download(HubSource(repository="owner/other"), NEEDS)
    with pytest.raises(HubError, match="has no revision 'v9': correct `revision`"):
        plan_download(HubSource(repository=NAME, revision="v9"), NEEDS)
    with pytest.raises(HubError, match=r"'owner/model' has no file 'lora\.safetensors'"):
        plan_download(SOURCE, Needs(files=("lora.safetensors",)))
    with pytest.raises(HubError, match="is no hub id such as 'owner/name'"):
        plan_download(HubSource(repository="owner/no name"), NEEDS)


@contextmanager
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The seconds that are slept meanwhile, such as between two attempts."""
    seconds: list[float] = []
    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", seconds.append)
        yield seconds


def test_offline_is_said_at_once(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with waits(monkeypatch) as seconds, pytest.raises(HubError, match="HF_HUB_OFFLINE is set, so the hub is not asked"):
        plan()
    assert sum(seconds) == 0


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_an_unreachable_hub_is_said_at_once(hub: StubHub, closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port}")
    with (
        waits(monkeypatch) as seconds,
        pytest.raises(HubError, match=r"cannot be reached for 'owner/model' \(.*\): che"),
    ):
        plan()
    assert sum(seconds) < SOON_S


def test_too_small_a_disk_is_said_before_the_first_byte(hub: StubHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.hub.download.SPARE_B", 2**60)
    with pytest.raises(HubError, match=r"0\.0 GB remain to be downloaded, but the disk of .* GB free: free space"):
        download((plan(),))
    assert not [path for path, _ in hub.ranges if path == LARGE]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_during_the_download(hub: StubHub, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(small_disk))
    monkeypatch.setattr("engine.hub.download.check_space", lambda plans: None)
    with pytest.raises(HubError, match="The disk is full, so 'owner/model' is not complete: free space"):
        download((plan(),))
    assert blob(".incomplete").stat().st_size > 50_000, "what arrived is kept"


def test_damage_is_found_and_replaced(hub: StubHub) -> None:
    (folder,) = download((plan(),))
    with (folder / LARGE).open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    (problem,) = find_damaged(SOURCE, NEEDS, forget=True)
    assert re.fullmatch(rf"{re.escape(LARGE)} differs from its checksum \w{{12}}\.\.\.", problem)
    assert not is_complete(SOURCE, NEEDS)
    download((plan(),))
    assert find_damaged(SOURCE, NEEDS) == []


def test_what_cannot_be_compared_is_kept(hub: StubHub) -> None:
    """A cache without links, such as a copied one, has no checksums: nothing of it is damaged."""
    (folder,) = download((plan(),))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    problems = find_damaged(SOURCE, NEEDS, forget=True)
    assert len(problems) == len(before) == 3
    assert all("cannot be compared: the cache has no checksum of it." in problem for problem in problems)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before and is_complete(SOURCE, NEEDS)


def test_removal_frees_the_space_and_refuses_while_a_download_runs(hub: StubHub, cache: Path) -> None:
    import threading

    download((plan(),))
    size_b = cached_b(SOURCE)
    assert remove([SOURCE, SOURCE]) == size_b and not SOURCE.cache_folder.exists()
    assert remove([SOURCE]) == 0
    hub.hold[LARGE] = 100_000
    thread = threading.Thread(target=download, args=((plan(),),))
    thread.start()
    try:
        assert hub.held.wait(60)
        with pytest.raises(HubError, match="'owner/model' is being downloaded: cancel the download first"):
            remove([SOURCE])
    finally:
        hub.released.set()
        thread.join()
    assert is_complete(SOURCE, NEEDS)
