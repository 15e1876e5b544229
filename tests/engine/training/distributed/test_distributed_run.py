"""A run under `accelerate launch`, as it is documented: two processes on a CPU, stopped and gone on with."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.runs.adapters import find_adapter
from engine.runs.run import Run, list_runs
from engine.workspace import Workspace

pytestmark = pytest.mark.timeout(1200)

STEPS = 12
PATIENCE_S = 500  # four processes begin with ten seconds' work each, on a machine that may have much else to do
PATIENT = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(PATIENCE_S)}
PRESET = f"""
title = "Tiny NFT"
algorithm = "nft"
model = "tiny"
mix = "tiny"
rewards = "total"
prompts = "mini"
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 2
lora_rank = 2
max_steps = {STEPS}
num_generations = 2
per_device_train_batch_size = 2
save_steps = 2
save_total_limit = 2
logging_steps = 1
sample_clips = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The folder of presets of a toy model, a mix and a preset."""
    model = {"title": "Tiny", "family": "ltx", "source": str(tiny_folder), "dtype": "float32", "size_multiple": 16}
    model |= {
        "width": 64,
        "height": 64,
        "num_frames": 17,
        "fps": 8.0,
        "num_steps": 2,
        "guidance": 1.0,
        "max_frames": 129,
    }
    folder = tmp_path_factory.mktemp("launched") / "presets"
    for kind in ("models", "rewards", "train"):
        (folder / kind).mkdir(parents=True)
    (folder / "models" / "tiny.toml").write_text("".join(f"{key} = {json.dumps(it)}\n" for key, it in model.items()))
    (folder / "rewards" / "tiny.toml").write_text('title = "Tiny"\nweights = { flow_smoothness = 1.0 }\n')
    (folder / "train" / "tiny_nft.toml").write_text(PRESET)
    return folder


@pytest.fixture(scope="module")
def surroundings(place: Path) -> dict[str, str]:
    found = {"DAILIES_PRESETS": str(place), "DAILIES_DEVICE": "cpu", "DAILIES_TRACKIO": "0", "OMP_NUM_THREADS": "1"}
    return {**found, "DAILIES_WORKSPACE": str(place.parent / "workspace"), "GLOO_SOCKET_IFNAME": "lo", **PATIENT}


@pytest.fixture(scope="module")
def stopped(place: Path, surroundings: dict[str, str], root: Path, python: str) -> Run:
    """A run of two processes that was asked to stop in its midst, by a signal to the launcher."""
    space, log = Workspace(place.parent / "workspace").prepare(), place.parent / "log.txt"
    process = launch(root, python, log, surroundings, "train", "tiny_nft")
    try:
        run = until_step(space, process, log, 3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) != 0
    finally:
        end(process)
    assert list_runs(space) == [run], log.read_text()[-4000:]
    return run


def launch(root: Path, python: str, log: Path, surroundings: dict[str, str], *words: str) -> "subprocess.Popen[bytes]":
    config = root / "presets" / "accelerate" / "fsdp_1x8.yaml"
    launcher = [python, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", str(config)]
    here = ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "-m", "engine.cli", *words]
    environment = {**os.environ, **surroundings}
    with log.open("ab") as output:
        return subprocess.Popen([*launcher, *here], cwd=root, env=environment, stdout=output, stderr=output)


def end(process: "subprocess.Popen[bytes]") -> None:
    """A launcher that is killed would leave its processes behind."""
    if process.poll() is None:
        process.terminate()
        process.wait(PATIENCE_S)


def rows(run: Run) -> list[dict[str, Any]]:
    """Every line of the metrics that a step logged."""
    lines = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    return [line for line in lines if "grad_norm" in line]


def until_step(space: Workspace, process: "subprocess.Popen[bytes]", log: Path, step: int) -> Run:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for run in list_runs(space):
            if any(row["step"] >= step for row in run.metrics()):
                return run
        assert process.poll() is None, log.read_text()[-4000:]
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached: {log.read_text()[-4000:]}")


@pytest.mark.slow
def test_one_process_writes_and_all_stop_after_the_same_step(stopped: Run) -> None:
    checkpoint = stopped.last_checkpoint()
    assert checkpoint is not None
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert 3 <= step < STEPS
    assert [row["step"] for row in rows(stopped)] == [*range(1, step + 1)], "a line a step"
    assert sorted(path.name for path in (checkpoint / "shards").glob("*.distcp")) == ["__0_0.distcp", "__1_0.distcp"]
    assert [path.name for path in stopped.checkpoints.iterdir() if not path.name.startswith("checkpoint-")] == []
    assert not stopped.adapter.exists()
    assert json.loads(stopped.preflight.read_text())


@pytest.mark.slow
def test_one_process_finishes_what_two_began(
    stopped: Run, surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    assert main(["resume", stopped.id, "--json"]) == 0
    assert [row["step"] for row in rows(stopped)] == [*range(1, STEPS + 1)]
    adapter = json.loads(capsys.readouterr().out)["adapter"]
    assert find_adapter(stopped.workspace, adapter, "tiny").card.model == "tiny"


@pytest.mark.slow
def test_what_the_first_process_complains_of_ends_all(
    surroundings: dict[str, str], root: Path, python: str, tmp_path: Path
) -> None:
    log, space = tmp_path / "log.txt", Workspace(tmp_path / "workspace").prepare()
    elsewhere = {**surroundings, "DAILIES_WORKSPACE": str(space.root)}
    process = launch(root, python, log, elsewhere, "train", "tiny_nft", "--start", "nobody")
    try:
        assert process.wait(PATIENCE_S) != 0
    finally:
        end(process)
    assert "Unknown adapter 'nobody'" in log.read_text()
    assert list_runs(space) == []


def test_a_queue_is_not_launched(
    surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**surroundings, "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "tiny_nft", "--queue"]) == 2
    assert "--queue submits the training to a worker" in capsys.readouterr().err
