"""A workspace on a disk that is really full: each writer says so in one sentence, and nothing that was there is lost.

The disk is a tmpfs of a few MiB, which only root may mount.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.config.presets import load_train_preset
from engine.errors import StoreError, StoreUnavailable
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.kinds import KINDS
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.runs.adapters import AdapterCard, add_adapter, list_adapters
from engine.runs.run import Run, list_runs
from engine.storage.backups import back_up, find_problem, list_backups
from engine.storage.clip_files import has_files, load_clip, save_clip
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace
from rewards.clip import Clip

SIZE = "6m"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mounted disk of its own, empty."""
    monkeypatch.delenv("DAILIES_DATABASE_URL", raising=False)
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command on this machine")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    assert os.statvfs(disk).f_bavail == 0
    return ballast


def clip(number: int) -> Clip:
    frames = np.random.default_rng(number).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    return Clip(frames=frames, fps=8.0, prompt=f"clip {number}")


def record(number: int) -> ClipRecord:
    return ClipRecord.imported(f"{number:016x}", clip(number))


def test_a_full_disk_loses_nothing_and_is_named(disk: Path) -> None:
    workspace = Workspace(disk / "workspace").prepare()
    store = Library(workspace)
    queue = JobQueue(store, KINDS)
    kept, run = record(1), Run.create(workspace, load_train_preset("mini_nft"))
    save_clip(workspace, kept.id, clip(1))
    store.add_clip(kept)
    backup = back_up(workspace.database, workspace, "start")
    run.append_metrics(1, {"loss": 1.0})
    before = snapshot(workspace)
    ballast = fill(disk)
    preset = load_train_preset("mini_nft")
    writers: dict[str, tuple[Callable[[], object], type[StoreError], str]] = {
        "clip": (lambda: save_clip(workspace, record(2).id, clip(2)), StoreError, "Free some space"),
        "rows": (lambda: store.add_clips([record(n) for n in range(3, 600)]), StoreUnavailable, "disk is full"),
        "jobs": (lambda: file_many(queue, run), StoreUnavailable, "disk is full"),
        "backup": (lambda: back_up(workspace.database, workspace, "start"), StoreError, "[Ff]ree some space"),
        "run": (lambda: Run.create(workspace, preset), StoreError, "cannot be written: No space left"),
        "adapter": (lambda: add_adapter(workspace, "a", AdapterCard(model="mini"), write), StoreError, "make room"),
    }
    for name, (attempt, kind, sentence) in writers.items():
        with pytest.raises(kind, match=sentence):
            attempt()
        assert "\n" not in name
    with pytest.raises(OSError, match="No space left"):
        for step in range(2, 10_000):
            run.append_metrics(step, {"loss": 1.0 / step})
    assert np.array_equal(load_clip(workspace, kept.id).frames, clip(1).frames), "what was there can be read"
    assert store.clip(kept.id).prompt == kept.prompt and not has_files(workspace, record(2).id)
    ballast.unlink()
    assert snapshot(workspace) == before, "nothing half-written is left"
    assert [one.id for one in list_runs(workspace)] == [run.id] and list_adapters(workspace) == []
    assert [one.path for one in list_backups(workspace)] == [backup.path] and not find_problem(backup.path)
    save_clip(workspace, record(2).id, clip(2))
    store.add_clip(record(2))
    steps = [row["step"] for row in run.metrics()]
    run.append_metrics(10_000, {"loss": 0.0})
    assert [row["step"] for row in run.metrics()] == [*steps, 10_000], "the torn line costs itself alone"
    store.close()
    assert find_problem(workspace.database) == ""


def file_many(queue: JobQueue, run: Run) -> None:
    for _ in range(500):
        queue.submit(JobSpec.train(run.id))


def write(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(bytes(100_000))


def snapshot(workspace: Workspace) -> list[str]:
    """Every file but those that grow or that SQLite keeps while it is open."""
    found = (path.relative_to(workspace.root) for path in workspace.root.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.name.startswith("dailies.db"))
