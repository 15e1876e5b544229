"""Whole jobs with a secret in every place where a user can give one: none is in a file, a log or a command line."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine.config.presets import load_train_preset
from engine.execution.batch_folder import BatchFolder
from engine.execution.resources import Resources
from engine.files.locks import try_lock
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import submit_run
from engine.jobs.spec import JobSpec
from engine.jobs.worker import IdleTimeouts, Worker
from engine.runs.run import Run
from engine.storage.library import Library
from engine.video.writer import write_lossless
from rewards.external.registry import close_external
from tests.reward_server import redness, reward_server

MARK = "planted-4f1c"
SECRETS = {
    "DAILIES_DATABASE_URL": f"postgresql://someone:{MARK}@127.0.0.1:1/dailies",
    "DAILIES_API_KEY": MARK,
    "HF_TOKEN": MARK,
    "WANDB_API_KEY": MARK,
    "JUDGE_TOKEN": MARK,
}
MIX = 'title = "Mine"\ncalibration = "mini"\n[weights]\njudge = 1\n'
DECLARATION = 'title = "Judge"\n[http]\nurl = "{url}"\ntoken_env = "JUDGE_TOKEN"\n'


@dataclass
class Seen:
    """The command lines of all processes while the reward's server was called."""

    commands: set[str] = field(default_factory=set)
    num_calls: int = 0

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Repeat the token in an error at the first call."""
        self.num_calls += 1
        for process in psutil.process_iter(["cmdline"]):
            self.commands.add(" ".join(process.info["cmdline"] or ()))
        return redness(body) if self.num_calls > 1 else (503, {"error": f"busy, {MARK}"})


@pytest.fixture
def seen(store: Library, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """A mix whose reward needs a token; the secrets are set after the database was opened."""
    seen, folder = Seen(), tmp_path / "presets"
    (folder / "external_rewards").mkdir()
    (folder / "rewards" / "mine.toml").write_text(MIX)
    train = folder / "train" / f"{preset}.toml"
    train.write_text(train.read_text().replace('mix = "tiny"', 'mix = "mine"'))
    with reward_server(seen.answer) as server:
        (folder / "external_rewards" / "judge.toml").write_text(DECLARATION.format(url=server.url))
        for name, value in SECRETS.items():
            monkeypatch.setenv(name, value)
        yield seen
        assert set(server.tokens) == {f"Bearer {MARK}"}
    close_external()


def run_all(queue: JobQueue) -> None:
    Worker(queue, IdleTimeouts(exit_s=0)).run(try_lock(queue.store.workspace.worker_lock))
    assert [job.error for job in queue.list() if job.status != "done"] == []


def marked(folder: Path) -> list[str]:
    """Return the files below `folder` that contain the mark."""
    files = [Path(parent) / name for parent, _, names in os.walk(folder) for name in names]
    return [str(file.relative_to(folder)) for file in files if MARK.encode() in file.read_bytes()]


def test_a_training_writes_no_secret(store: Library, preset: str, seen: Seen, tmp_path: Path) -> None:
    queue = JobQueue(store)
    run = Run.create(store.workspace, load_train_preset(preset, {"settings": {"max_steps": 1}}))
    submit_run(queue, run, Resources())
    run_all(queue)
    assert run.metrics() and (run.folder / "attempts").is_dir()
    assert_nowhere(tmp_path, seen)


def test_scoring_by_several_processes_writes_no_secret(
    store: Library, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(2):
        frames = np.random.default_rng(number).integers(0, 256, (9, 32, 32, 3), np.uint8)
        write_lossless(videos / f"{number}.mkv", frames, 8.0)
    monkeypatch.setattr(BatchFolder, "remove", lambda self: None)  # the work of the processes is read below
    queue = JobQueue(store)
    queue.submit(JobSpec.score_folder(videos, "a", "mine", Resources(processes=2)))
    run_all(queue)
    assert list(store.workspace.root.rglob("work.json"))
    assert_nowhere(tmp_path, seen)


def assert_nowhere(folder: Path, seen: Seen) -> None:
    assert seen.num_calls and seen.commands
    assert marked(folder) == []
    assert not any(MARK in command for command in seen.commands)
