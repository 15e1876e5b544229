"""`dailies models` with the real client, against a hub on loopback that has a tiny model."""

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from engine.cli.main import main
from engine.jobs.maintenance_configs import model_job
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.jobs.submission import submit_job
from engine.jobs.worker_control import stop_worker
from engine.request import GenerationRequest
from engine.storage.library import Library
from tests.stub_hub import TOKEN, StubHub, running_hub, use_hub

NAME, WEIGHTS = "owner/tiny", "transformer/diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Ended]


@pytest.fixture
def hub(tiny_folder: Path, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A hub that has the toy model, which the preset `tiny` names; the cache is empty."""
    preset = tmp_path / "presets" / "models" / "tiny.toml"
    preset.write_text(preset.read_text().replace(str(tiny_folder), NAME) + 'licence = "Apache-2.0"\n')
    shutil.copytree(tiny_folder, tmp_path / "repository")
    with running_hub() as hub:
        hub.add(NAME, tmp_path / "repository")
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        for name in ("DAILIES_ALLOW_DOWNLOAD", "HF_HUB_CACHE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        use_hub(hub, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        monkeypatch.setattr("sys.stdin", io.StringIO())
        yield hub


@pytest.fixture
def cli(hub: StubHub, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command in this process, without a terminal."""

    def run(*words: str) -> Ended:
        capfd.readouterr()
        code = main(["models", *words])
        return Ended(code, *capfd.readouterr())

    return run


def state(cli: Cli) -> str:
    (tiny,) = [model for model in json.loads(cli("ls", "--json").stdout) if model["key"] == "tiny"]
    return str(tiny["state"])


def test_get_verify_damage_repair_and_remove(cli: Cli, hub: StubHub, tmp_path: Path) -> None:
    assert state(cli) == "missing"
    refused = cli("get", "tiny")
    assert refused.returncode == 2 and "Licence: Apache-2.0" in refused.stderr and "Free disk: " in refused.stderr
    assert "run `dailies models get tiny --yes` to accept" in refused.stderr
    done = cli("get", "tiny", "--yes")
    assert done.returncode == 0 and "Tiny is installed." in done.stdout and "tiny: 100 %" in done.stderr
    assert state(cli) == "installed"
    assert "every file has its published checksum" in cli("verify", "tiny").stdout
    (stored,) = (tmp_path / "home" / "hub").glob(f"models--*/snapshots/*/{WEIGHTS}")
    with stored.open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        stream.write(b"bad")
    damaged = cli("verify", "tiny", "--repair")
    assert damaged.returncode == 2 and f"{WEIGHTS} differs from its checksum" in damaged.stderr
    assert state(cli) == "incomplete"
    assert cli("get", "tiny", "--yes").returncode == 0
    assert cli("verify", "tiny").returncode == 0
    removed = cli("rm", "tiny", "--yes")
    assert "Deleted owner/tiny" in removed.stdout and state(cli) == "missing"


def test_a_kill_in_the_middle_is_resumed(cli: Cli, hub: StubHub, tmp_path: Path) -> None:
    hub.hold[WEIGHTS] = 8192
    process = subprocess.Popen([sys.executable, "-m", "engine.cli", "models", "get", "tiny", "--yes"])
    try:
        assert hub.held.wait(60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert state(cli) == "incomplete"
    hub.released.set()
    assert cli("get", "tiny", "--yes").returncode == 0
    assert state(cli) == "installed" and cli("verify", "tiny").returncode == 0


def test_no_hub_and_no_permission_are_said_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in cli("get", "tiny", "--yes").stderr
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "0")
    assert "DAILIES_ALLOW_DOWNLOAD=0 forbids downloads" in cli("get", "tiny", "--yes").stderr
    assert "Did you mean 'mini'" in cli("get", "mnii").stderr
    assert "mini (embedded) is in the folder 'assets/mini': delete it there yourself" in cli("rm", "mini").stderr
    assert "is in a local folder" in cli("verify", "mini").stderr


def test_a_gated_model_takes_a_token(cli: Cli, hub: StubHub, tmp_path: Path) -> None:
    hub.gated.add(NAME)
    assert "'owner/tiny' is gated: accept its licence at" in cli("get", "tiny", "--yes").stderr
    assert cli("get", "tiny", "--yes", "--token", TOKEN).returncode == 0
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == [], "a token of the command line is not stored"


def test_a_gated_model_in_shards_asks_for_a_token(
    cli: Cli, hub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index of shards is already refused without one, before anything is downloaded."""
    part = tmp_path / "repository" / "transformer"
    (part / Path(WEIGHTS).name).rename(part / "diffusion_pytorch_model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}}
    (part / f"{Path(WEIGHTS).name}.index.json").write_text(json.dumps(index))
    hub.gated.add(NAME)
    monkeypatch.setattr("engine.cli.downloads.asking.is_interactive", lambda: True)
    monkeypatch.setattr("engine.cli.downloads.asking.ask_secret", lambda question: TOKEN)
    done = cli("get", "tiny", "--yes")
    assert done.returncode == 0 and "is gated" in done.stderr and state(cli) == "installed"


def test_models_of_the_same_weights_are_removed_together(cli: Cli, tmp_path: Path, queue: JobQueue) -> None:
    """Unless a job needs one of them; a third model that is not installed does not count."""
    presets = tmp_path / "presets" / "models"
    for key, more in (("same", ""), ("other", 'parts = {transformer = "owner/tuned"}\n')):
        (presets / f"{key}.toml").write_text(more + (presets / "tiny.toml").read_text())
    cli("get", "tiny", "--yes")
    job = queue.submit(JobSpec.generate([GenerationRequest(prompt="p", model="same")]))
    refused = cli("rm", "tiny", "--yes")
    assert refused.returncode == 2 and f"'same' is needed by the job {job.id} (generate): cancel it" in refused.stderr
    queue.cancel(job.id)
    removed = cli("rm", "tiny", "--yes")
    assert "Deleted owner/tiny" in removed.stdout and "Also deletes same: the same weights." in removed.stdout
    assert state(cli) == "missing"


def test_a_person_at_a_terminal_is_asked(hub: StubHub, cli: Cli) -> None:
    for answer, expected in ((b"n\n", "missing"), (b"y\n", "installed")):
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "engine.cli", "models", "get", "tiny"]
        process = subprocess.Popen(command, stdin=slave, stderr=slave, stdout=subprocess.DEVNULL)
        os.close(slave)
        shown = b""
        while b"Download? [y/N]" not in shown:
            shown += os.read(master, 4096)
        os.write(master, answer)
        drain(master)
        process.wait(60)
        os.close(master)
        assert state(cli) == expected


def drain(descriptor: int) -> None:
    """Read to the end: the terminal's buffer is small."""
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:  # the other side is closed
        pass


@pytest.fixture
def queue(store: Library) -> Iterator[JobQueue]:
    queue = JobQueue(store)
    yield queue
    stop_worker(store.workspace)


def test_a_job_downloads_is_cancelled_and_resumed(
    hub: StubHub, cli: Cli, queue: JobQueue, until: Callable[[Callable[[], object], str], None]
) -> None:
    hub.hold[WEIGHTS] = 8192
    job = submit_job(queue, model_job("tiny"))
    assert hub.held.wait(60)
    assert state(cli) == "downloading"
    queue.cancel(job.id)
    until(lambda: queue.get(job.id).is_over, "the download to stop")
    assert queue.get(job.id).status == "cancelled" and state(cli) == "incomplete"
    hub.released.set()
    again = submit_job(queue, model_job("tiny"))
    until(lambda: queue.get(again.id).is_over, "the download to end")
    ended = queue.get(again.id)
    assert (ended.status, ended.error) == ("done", None)
    assert state(cli) == "installed"
    rows: list[Any] = [queue.get(one).to_dict() for one in (job.id, again.id)]
    assert all(row["config"] == {"key": "tiny"} for row in rows)
