"""The registry of weights: found without the network, fetched when allowed, never a hang, never a swap."""

import hashlib
import http.server
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.main import main
from rewards.errors import RewardError, RewardUnavailable
from rewards.networks.cache import close_networks, load_into, loads, open_network, read_tensors
from rewards.weights import sources
from rewards.weights.catalog import DOWNLOADABLE, MISSING, PRESENT, WEIGHTS, Weights, resolve, status
from rewards.weights.sources import Packaged, Web, verify

CONTENT = bytes(range(256)) * 8192  # 2 MB


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No folder of weights, empty caches, downloads not turned off."""
    monkeypatch.delenv("DAILIES_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def served() -> Iterator[str]:
    """The address of a server on this machine that answers every path with CONTENT."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a machine that takes a connection and then says nothing, as a broken network does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def weights_from(url: str, sha256: str = "") -> Weights:
    return Weights(
        key="toy",
        title="Toy",
        used_by=("t_lpips",),
        names=("toy.safetensors",),
        size_mb=2,
        licence="none",
        source=Web(url=f"{url}/toy.pth"),
        sha256=sha256,
    )


@pytest.mark.parametrize("key", WEIGHTS)
def test_every_network_says_where_it_comes_from(key: str) -> None:
    weights = WEIGHTS[key]
    assert weights.key == key and weights.title and weights.licence and weights.used_by and weights.names
    assert weights.size_mb > 0 and weights.source.description
    assert re.fullmatch(r"[0-9a-f]{8,64}|", weights.sha256)


def test_hub_repositories_are_pinned_to_a_commit() -> None:
    revisions = [weights.source.revision for weights in WEIGHTS.values() if hasattr(weights.source, "revision")]
    assert revisions and all(re.fullmatch("[0-9a-f]{40}", revision) for revision in revisions)


def test_the_users_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    assert status("i3d").state == DOWNLOADABLE
    (tmp_path / "i3d_kinetics400_rgb.safetensors").write_bytes(b"x")
    assert resolve("i3d") == tmp_path / "i3d_kinetics400_rgb.safetensors"
    assert status("i3d").state == PRESENT
    packaged = resolve("lpips_heads")
    (tmp_path / "lpips_alex.pth").write_bytes(b"x")
    assert resolve("lpips_heads") == tmp_path / "lpips_alex.pth" != packaged


def test_torchs_cache_is_found(tmp_path: Path) -> None:
    place = tmp_path / "torch" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    assert resolve("alexnet") == place


def test_the_hubs_cache_is_found_only_whole(tmp_path: Path) -> None:
    source = WEIGHTS["stsb"].source
    folder = tmp_path / "hub" / "models--cross-encoder--stsb-roberta-base" / "snapshots" / source.revision
    folder.mkdir(parents=True)
    for name in source.files[:-1]:
        (folder / name).write_bytes(b"x")
    assert status("stsb").state == DOWNLOADABLE
    (folder / source.files[-1]).write_bytes(b"x")
    assert resolve("stsb") == folder


def test_what_is_missing_is_one_sentence_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RewardUnavailable, match=r"^I3D.*50.9 MB.*`dailies weights get i3d`.*DAILIES_WEIGHTS names\.$"):
        resolve("i3d")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert status("i3d").state == MISSING
    with pytest.raises(RewardUnavailable, match="HF_HUB_OFFLINE"):
        resolve("i3d", allow_download=True)


def test_unknown_weights_suggest_a_near_name() -> None:
    with pytest.raises(RewardError, match="Did you mean 'facenet'"):
        resolve("facenett")


def test_a_package_that_is_not_installed_has_nothing() -> None:
    assert Packaged(package="no_such_package_here", path="a.pt").find() is None


def test_a_download_tells_its_progress_and_is_kept(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = weights_from(served, hashlib.sha256(CONTENT).hexdigest()[:8])
    monkeypatch.setitem(WEIGHTS, "toy", toy)
    seen: list[tuple[int, int]] = []
    path = resolve("toy", allow_download=True, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT and status("toy").state == PRESENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert [file.name for file in path.parent.iterdir()] == ["toy.pth"]


def test_a_download_with_another_checksum_is_thrown_away(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "toy", weights_from(served, "0" * 64))
    with pytest.raises(RewardError, match="checksum .* deleted; get it again"):
        resolve("toy", allow_download=True)
    assert status("toy").state == DOWNLOADABLE


def test_a_damaged_file_of_the_hubs_cache_is_deleted_with_its_link(tmp_path: Path) -> None:
    """`hf_hub_download` links a file that the cache holds again, without a download."""
    (tmp_path / "blob").write_bytes(b"damaged")
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    with pytest.raises(RewardError, match="deleted; get it again"):
        verify(tmp_path / "link", "0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["i3d", "clip_b32"])
def test_a_dead_network_is_said_within_two_seconds(key: str, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sources.REACH_S <= 2
    monkeypatch.setattr(sources, "REACH_S", 0.05)
    monkeypatch.setenv("https_proxy", silent)
    start = time.monotonic()
    with pytest.raises(RewardUnavailable, match="does not answer"):
        resolve(key, allow_download=True)
    assert time.monotonic() - start < 2, "it waits that long once, not for READ_S"


def test_the_registry_imports_no_torch(python: str) -> None:
    code = (
        "import sys, engine.cli.downloads.weights; from rewards.weights import catalog; "
        "catalog.status('i3d'); print('torch' in sys.modules)"
    )
    assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_network_is_built_once() -> None:
    close_networks()
    before = loads["toy"]
    first, second = (open_network("toy", object) for _ in range(2))
    assert first is second and loads["toy"] == before + 1


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02}q\x00."], ids=["empty", "garbage", "pickle"])
def test_a_torn_file_is_one_clear_sentence(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"torn.{ending}"
    path.write_bytes(content)
    with pytest.raises(RewardError, match=r"^The weights file torn\.\w+ (is damaged|does not hold).*\.$"):
        read_tensors(path)


def test_half_a_safetensors_file_is_damaged(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1000)}, tmp_path / "whole.safetensors")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:2000])
    assert read_tensors(tmp_path / "whole.safetensors")["a"].shape == (1000,)
    with pytest.raises(RewardError, match="half.safetensors is damaged"):
        read_tensors(tmp_path / "half.safetensors")


def test_the_weights_of_another_network_are_refused() -> None:
    import torch

    with pytest.raises(RewardError, match="not the weights of a layer"):
        load_into(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "a layer")


def test_the_command_line_lists_and_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "ls"]) == 0
    out = capsys.readouterr().out
    assert all(key in out for key in WEIGHTS) and "downloadable" in out and "present" in out
    assert main(["weights", "check", "lpips_heads"]) == 0
    assert "5 tensors" in capsys.readouterr().out


def test_the_command_line_gets(
    served: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(WEIGHTS, "toy", weights_from(served))
    assert main(["weights", "get", "toy"]) == 0
    captured = capsys.readouterr()
    assert "100 %" in captured.err and str(status("toy").path) in captured.out
    assert main(["weights", "get", "toi"]) == 2
    assert "Did you mean 'toy'" in capsys.readouterr().err
