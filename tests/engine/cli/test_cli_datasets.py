"""`dailies datasets` with the real client, against a hub on loopback that has small data sets."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.config.prompts import read_rows
from engine.hub.listing import HubFile
from engine.labelling.preference_formats import read_preference_data
from engine.runs.run_inputs import preset_files
from engine.training.data.clip_rows import read_captioned, read_rated
from engine.training.datasets import library
from engine.video.writer import write_lossless
from tests.engine.cli.test_cli_models import Ended, drain
from tests.stub_hub import TOKEN, StubHub, running_hub, use_hub

SIZE_B = 25_000_000  # more than the client writes at once and the buffers of a connection
Cli = Callable[..., Ended]
Add = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """An empty hub, and an empty cache."""
    with running_hub() as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        for name in ("DAILIES_ALLOW_DOWNLOAD", "HF_HUB_CACHE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        use_hub(hub, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        monkeypatch.setattr("sys.stdin", io.StringIO())
        yield hub


@pytest.fixture
def add(hub: StubHub, tmp_path: Path) -> Add:
    """Add a repository of files (bytes, or rows of a table by the suffix) and return its folder."""

    def add(name: str, files: dict[str, Any]) -> Path:
        folder = tmp_path / "repositories" / name
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.suffix == ".parquet":
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), target)
            elif isinstance(content, list):
                lines = "\n".join(map(json.dumps, content)) if target.suffix == ".jsonl" else json.dumps(content)
                target.write_text(lines)
            else:
                target.write_bytes(content)
        hub.add(name, folder)
        hub.licences[name] = "mit"
        return folder

    return add


@pytest.fixture
def cli(hub: StubHub, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command in this process, without a terminal."""

    def run(*words: str) -> Ended:
        capfd.readouterr()
        code = main(["datasets", *words])
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "a.mkv"
    write_lossless(path, np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), np.uint8), 8.0)
    return path.read_bytes()


def packed(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def exist(paths: Sequence[str]) -> bool:
    return bool(paths) and all(Path(path).is_file() for path in paths)


VIDEODPO = [{"prompt": f"a boat {number}", "win": f"{number}.mp4", "lose": f"{number}.mp4"} for number in range(3)]


def add_videodpo(add: Add, clip: bytes) -> Path:
    """Add the repository of `videodpo10k` in its layout: a table, and two archives of folders."""
    sides = {
        f"{side}.zip": packed({f"{side}/{number}.mp4": clip for number in range(3)})
        for side in ("winvideos", "losevideos")
    }
    return add("CodeGoat24/VideoDPO", {"train_data.json": VIDEODPO, "qwen/other.json": [{"x": 1}], **sides})


def test_videodpo_by_its_key_is_ready_for_its_preset(cli: Cli, add: Add, clip: bytes, own_workspace: Path) -> None:
    add_videodpo(add, clip)
    assert json.loads(cli("ls", "--json").stdout)[0]["state"] == "missing"
    refused = cli("get", "videodpo10k")
    assert refused.returncode == 2 and "run `dailies datasets get videodpo10k --yes` to accept" in refused.stderr
    assert "Licence: mit" in refused.stderr and "Free disk: " in refused.stderr and "Unpacked" in refused.stderr
    done = cli("get", "videodpo10k", "--yes")
    assert done.returncode == 0, done.stderr
    assert "'videodpo10k' has 3 pairs." in done.stdout
    assert "`dailies train dpo_videodpo10k --set pairs=videodpo10k`" in done.stdout
    table = preset_files(load_train_preset("dpo_videodpo10k"))["pairs"]
    assert table == own_workspace / "datasets" / "videodpo10k" / "pairs.jsonl"
    rows = read_preference_data(table)
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in VIDEODPO]
    assert "winvideos/0.mp4" in rows[0]["chosen"] and "losevideos/0.mp4" in rows[0]["rejected"]
    assert not list(own_workspace.rglob("other.json")), "files that the key does not name are not downloaded"
    removed = cli("rm", "videodpo10k", "--yes")
    assert removed.returncode == 0 and "Deleted 'videodpo10k'" in removed.stdout
    assert not (own_workspace / "datasets" / "videodpo10k").exists()
    assert cli("ls").stdout.count("not downloaded") == 1


def test_a_kill_in_the_middle_is_resumed(cli: Cli, hub: StubHub, add: Add, own_workspace: Path) -> None:
    add("owner/clips", {"a.mp4": bytes(SIZE_B), "a.jsonl": [{"prompt": "a boat", "video": "a.mp4"}]})
    hub.hold["a.mp4"] = SIZE_B - 8192
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", "datasets", "get", "owner/clips", "--yes"])
    try:
        assert hub.held.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    hub.released.set()
    hub.ranges.clear()
    assert cli("get", "owner/clips", "--yes").returncode == 0
    assert all(start > 0 for path, start in hub.ranges if path == "a.mp4"), "what had arrived is not asked for again"
    (row,) = read_captioned(own_workspace / "datasets" / "owner--clips" / "captions.jsonl")
    assert Path(row["chosen"]).stat().st_size == SIZE_B


def test_damage_is_found_and_repaired_by_another_get(cli: Cli, hub: StubHub, add: Add, own_workspace: Path) -> None:
    add("owner/lists", {"train.jsonl": [{"caption": f"a dog {number}"} for number in range(400)]})
    hub.wrong["train.jsonl"] = 2  # the look at its head, and the first download
    done = json.loads(cli("get", "owner/lists", "--yes", "--json").stdout)
    assert (done["rows"], done["kind"], done["set"]) == (400, "prompts", "prompts=owner--lists")
    again = json.loads(cli("get", "owner/lists", "--json").stdout)
    assert again["downloaded_b"] == 0, "a whole data set needs no question and no download"
    stored = (own_workspace / "datasets" / "owner--lists" / "files" / "train.jsonl").resolve()
    stored.write_bytes(stored.read_bytes().replace(b"dog", b"cat"))
    asked = cli("get", "owner/lists")
    assert asked.returncode == 2 and "train.jsonl differs from its checksum" in asked.stderr
    assert "incomplete" in cli("ls").stdout
    repaired = json.loads(cli("get", "owner/lists", "--yes", "--json").stdout)
    assert repaired["downloaded_b"] == done["size_b"] and "dog" in read_rows("owner--lists")[0].prompt


def test_a_gated_data_set_takes_a_token(cli: Cli, hub: StubHub, add: Add, tmp_path: Path) -> None:
    add("owner/gated", {"train.parquet": [{"prompt": "a boat"}]})
    hub.gated.add("owner/gated")
    refused = cli("get", "owner/gated", "--yes").stderr
    assert f"'owner/gated' is gated: accept its licence at {hub.address}/datasets/owner/gated" in refused
    assert cli("get", "owner/gated", "--yes", "--token", TOKEN).returncode == 0
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == [], "a token of the command line is not stored"


def test_no_hub_no_permission_and_no_id_are_said_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Did you mean 'videodpo10k'" in cli("get", "videodpo").stderr
    assert "There is no data set 'other' in the workspace" in cli("rm", "other", "--yes").stderr
    assert "'owner/none' is not on the hub, or it is private" in cli("get", "owner/none", "--yes").stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in cli("get", "videodpo10k", "--yes").stderr
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "0")
    assert "DAILIES_ALLOW_DOWNLOAD=0 forbids downloads" in cli("get", "videodpo10k", "--yes").stderr


def test_an_unknown_layout_lists_its_columns_before_the_download(cli: Cli, hub: StubHub, add: Add) -> None:
    wide = [{"question": "q" * 40, "answer": os.urandom(9000).hex(), "id": number} for number in range(200)]
    add("owner/other", {"data/train-0.parquet": wide})
    refused = cli("get", "owner/other", "--yes")
    assert refused.returncode == 2
    assert "no layout that Dailies reads (its columns are data/train-0.parquet: question, answer, id)" in refused.stderr
    ((path, start),) = hub.ranges
    assert path == "data/train-0.parquet" and start > 1_000_000, "only the end of the table was read"
    add("owner/pictures", {"a.png": b"x", "b.png": b"x"})
    assert "it has no table, only files of .png" in cli("get", "owner/pictures", "--yes").stderr
    add(
        "owner/both",
        {
            "a.jsonl": [{"prompt": "a", "video": "a.mp4"}],
            "b.jsonl": [{"prompt": "a", "chosen": "a.mp4", "rejected": "b.mp4"}],
        },
    )
    both = cli("get", "owner/both", "--yes").stderr
    assert "has captions (a.jsonl) and pairs (b.jsonl): choose one by --files" in both


def test_videos_inside_a_table_become_files(cli: Cli, add: Add, clip: bytes, own_workspace: Path) -> None:
    cell = {"bytes": clip, "path": "x.mkv"}
    rows = [
        {"prompt": "a boat", "video1": cell, "video2": cell, "preference": verdict}
        for verdict in ("video1", "tie", "2", "video2")
    ]
    add(
        "owner/votes", {"data/train-0.parquet": rows[:2], "data/train-1.parquet": rows[2:], "data/test-0.parquet": rows}
    )
    done = json.loads(cli("get", "owner/votes", "--yes", "--json").stdout)
    assert (done["kind"], done["rows"], done["left_out"]) == ("pairs", 3, {"it is a tie.": 1})
    pairs = read_preference_data(own_workspace / "datasets" / "owner--votes" / "pairs.jsonl")
    assert exist([row[side] for row in pairs for side in ("chosen", "rejected")])
    assert {Path(row["chosen"]).read_bytes() for row in pairs} == {clip}
    tested = json.loads(cli("get", "owner/votes", "--yes", "--json", "--split", "test").stdout)
    assert (tested["name"], tested["rows"]) == ("owner--votes--test", 3)
    kept = cli("rm", "owner--votes", "--yes").stdout
    assert "its files were kept for another data set" in kept
    assert exist(
        [row["chosen"] for row in read_preference_data(Path(own_workspace, "datasets/owner--votes--test/pairs.jsonl"))]
    )


def test_captions_labels_and_prompts_in_the_forms_of_the_hub(
    cli: Cli, add: Add, clip: bytes, own_workspace: Path
) -> None:
    shard = {f"deep/{number}.mp4": clip for number in range(2)} | {"deep/0.txt": b"a boat", "deep/1.txt": b""}
    add("owner/web", {"train-000.tar.gz": tarred({**shard, "../evil.mp4": clip, "/evil.mp4": clip})})
    web = json.loads(cli("get", "owner/web", "--yes", "--json").stdout)
    assert (web["kind"], web["rows"]) == ("captions", 1) and sum(web["left_out"].values()) == 1
    (row,) = read_captioned(own_workspace / "datasets" / "owner--web" / "captions.jsonl")
    assert row["prompt"] == "a boat" and Path(row["chosen"]).read_bytes() == clip
    assert not list(own_workspace.rglob("evil.mp4"))

    table = b"file_name,text,label\nclips/a.mp4,a boat,good\nclips/b.mp4,a dog,bad\nclips/c.mp4,a cat,perhaps\n"
    videos = {f"clips/{name}.mp4": clip for name in "abc"}
    add("owner/rated", {"metadata.csv": table, **videos})
    rated = json.loads(cli("get", "owner/rated", "--yes", "--json", "--name", "rated").stdout)
    assert (rated["kind"], rated["rows"], rated["set"]) == ("ratings", 2, "pairs=rated")
    labels = read_rated(own_workspace / "datasets" / "rated" / "ratings.jsonl")
    assert [row["label"] for row in labels] == [True, False] and exist([str(row["chosen"]) for row in labels])

    add("owner/list", {"prompts.txt": b"# comment\na boat\na dog\n", "README.md": b"text"})
    assert "'owner--list' has 2 prompts." in cli("get", "owner/list", "--yes").stdout
    assert [row.prompt for row in read_rows("owner--list")] == ["a boat", "a dog"]


def test_a_damaged_archive_and_clips_elsewhere_are_said(cli: Cli, add: Add, clip: bytes) -> None:
    add("owner/torn", {"a.zip": packed({"a.mp4": clip})[:-30], "a.jsonl": [{"prompt": "a", "video": "a.mp4"}]})
    assert "a.zip is a damaged or locked archive" in cli("get", "owner/torn", "--yes").stderr
    add("owner/links", {"a.jsonl": [{"prompt": "a", "video": "https://x.example/a.mp4"}]})
    assert "no usable row: its clips are addresses of web pages" in cli("get", "owner/links", "--yes").stderr
    assert "owner--" not in cli("ls").stdout


@pytest.mark.parametrize("order", [1, -1])
def test_an_archive_never_writes_into_the_cache(tmp_path: Path, order: int) -> None:
    """A loose file is kept over that of an archive, whichever comes first."""
    snapshot, folder = tmp_path / "snapshot", tmp_path / "files"
    (snapshot / "clips").mkdir(parents=True)
    (snapshot / "clips" / "a.mp4").write_bytes(b"loose")
    (snapshot / "clips.zip").write_bytes(packed({"a.mp4": b"packed", "b.mp4": b"packed"}))
    files = [HubFile(path=path, size_b=1, digest="") for path in ("clips.zip", "clips/a.mp4")]
    library._fill(folder, snapshot, tuple(files[::order]), 10**9)
    assert (snapshot / "clips" / "a.mp4").read_bytes() == b"loose"
    assert [(folder / "clips" / name).read_bytes() for name in ("a.mp4", "b.mp4")] == [b"loose", b"packed"]


def test_a_person_at_a_terminal_is_asked(cli: Cli, add: Add) -> None:
    add("owner/lists", {"train.jsonl": [{"prompt": "a boat"}]})
    for answer, expected in ((b"n\n", 0), (b"y\n", 1)):
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "engine.cli", "datasets", "get", "owner/lists"]
        process = subprocess.Popen(command, stdin=slave, stderr=slave, stdout=subprocess.DEVNULL)
        os.close(slave)
        shown = b""
        while b"Download? [y/N]" not in shown:
            shown += os.read(master, 4096)
        assert b"Content: prompts" in shown
        os.write(master, answer)
        drain(master)
        process.wait(60)
        os.close(master)
        assert len(json.loads(cli("ls", "--json").stdout)) == 1 + expected
