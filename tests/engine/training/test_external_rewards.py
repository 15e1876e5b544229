"""Runs with external rewards: a server's scores train `mini`, survive a kill, and a changed server raises an alarm."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerState

from engine.config.presets import load_train_preset
from engine.errors import TrainingError
from engine.runs.run import Run
from engine.training import main
from engine.training.evaluation.reward_probes import ProbeCallback
from engine.workspace import Workspace
from tests.reward_server import redness, reward_server

SMALL = {
    "num_frames": 9,
    "num_steps": 2,
    "num_generations": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "logging_steps": 1,
    "sample_clips": 0,
    "max_steps": 4,
    "save_steps": 2,
}
MIX = """
title = "Red"
calibration = "mini"
[weights]
red = 1.0
[gates]
motion = 0.0
liveness = 0.0
sharpness = 0.0
cut = 0.0
loop = 0.0
"""


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of presets with the mix `red`, which processes of the test use too."""
    folder = tmp_path / "presets"
    for kind in ("rewards", "external_rewards"):
        (folder / kind).mkdir(parents=True)
    (folder / "rewards" / "red.toml").write_text(MIX)
    monkeypatch.setenv("DAILIES_PRESETS", str(folder))
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    return folder


def declare(presets: Path, url: str, more: str = "") -> None:
    text = f'title = "Red"\n{more}[http]\nurl = "{url}"\nbackoff_s = 0.01\nbatch = 2\n'
    (presets / "external_rewards" / "red.toml").write_text(text)


def new_run(folder: Path, algorithm: str, **changes) -> Run:
    settings = {**SMALL, **({"window": 1} if algorithm == "grpo" else {}), **changes.pop("settings", {})}
    preset = {"mix": "red", "watch": None, "alarms": {"every": 0}, "settings": settings, **changes}
    return Run.create(Workspace(folder).prepare(), load_train_preset(f"mini_{algorithm}", preset))


def train(run: Run) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.training.main", str(run.folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


def weights(run: Run) -> dict[str, torch.Tensor]:
    (file,) = run.adapter.glob("*.safetensors")
    return load_file(file)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["grpo", "nft"])
def test_a_killed_run_with_a_server_goes_on_as_if_it_had_not_been(algorithm, presets, tmp_path):
    with reward_server(redness) as server:
        declare(presets, server.url)
        whole, killed = new_run(tmp_path / "a", algorithm), new_run(tmp_path / "b", algorithm)
        assert train(whole).returncode == 0
        count, pid = len(server.requests), []

        def kill_late(body):
            """Kill the trainer while it waits for the rewards of its fourth update."""
            if len(server.requests) == 2 * count:
                os.kill(pid[0], signal.SIGKILL)
            return redness(body)

        server.behaviour = kill_late
        process = subprocess.Popen([sys.executable, "-m", "engine.training.main", str(killed.folder)])
        pid.append(process.pid)
        assert process.wait(timeout=250) == -signal.SIGKILL
        assert not killed.has_adapter and killed.last_checkpoint() is not None
        server.behaviour = redness
        assert train(killed).returncode == 0
    first, second = weights(whole), weights(killed)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert any(tensor.abs().max() > 0 for tensor in first.values())
    means = [row["rewards/red/mean"] for row in whole.metrics() if "rewards/red/mean" in row]
    assert means and all(0 < mean < 1 for mean in means)
    record = json.loads(whole.external_rewards_file.read_text())["red"]
    assert record["identity"] == "redness 1" and record["address"] == server.url and record["scores"]["red"] > 0
    assert not whole.alarms() and not killed.alarms()


def test_a_server_that_changes_raises_an_alarm(presets, tmp_path):
    with reward_server(redness) as server:
        declare(presets, server.url)
        run = new_run(tmp_path / "a", "nft", alarms={"every": 2, "prompts": 2})

        def changed(body):
            status, answer = redness(body)
            if len(server.requests) > 3:
                answer = {"results": [{"score": row["score"] / 2} for row in answer["results"]], "model": "other"}
            return status, answer

        server.behaviour = changed
        assert main.train(run, main.Recorder(run))
    alarms = [alarm for alarm in run.alarms() if alarm.name == "probe/red"]
    assert len(alarms) == 1 and "model, version or declaration has changed" in alarms[0].sentence


def test_a_required_server_that_is_down_stops_the_run_at_its_start(presets, tmp_path):
    declare(presets, "http://127.0.0.1:9/score", "required = true\n")
    run = new_run(tmp_path / "a", "nft")
    with pytest.raises(TrainingError, match=r"cannot be reached.*required: start its server"):
        ProbeCallback(run, run.preset()).on_train_begin(None, TrainerState(), None)
    assert not run.external_rewards_file.exists()


def probes(run: Run, *steps: int) -> list[str]:
    """Let the callback probe at these steps; return the alarms' sentences."""
    callback = ProbeCallback(run, run.preset())
    callback.on_train_begin(None, TrainerState(), None)
    for step in steps:
        callback.on_step_end(None, TrainerState(global_step=step), None)
    callback.on_train_end(None, TrainerState(), None)
    return [alarm.sentence for alarm in run.alarms()]


def test_a_server_that_stays_away_raises_one_alarm_and_is_recorded_when_it_comes(presets, tmp_path):
    run = new_run(tmp_path / "a", "nft")
    with reward_server(lambda body: (503, b"")) as server:
        declare(presets, server.url, "")
        (sentence,) = probes(run, 25, 50)
        assert "'red' is missing, so nothing is learned from it" in sentence
        assert not run.external_rewards_file.exists()
        server.behaviour = redness
        assert len(probes(run, 25)) == 1
        assert json.loads(run.external_rewards_file.read_text())["red"]["identity"] == "redness 1"


def test_a_declaration_that_was_edited_counts_from_the_next_start_and_raises_an_alarm(presets, tmp_path):
    run = new_run(tmp_path / "a", "nft")
    with reward_server(redness) as server:
        declare(presets, server.url)
        callback = ProbeCallback(run, run.preset())
        callback.on_train_begin(None, TrainerState(), None)
        declare(presets, server.url, "[calibration]\nbad = 0.1\ngood = 0.7\n")
        callback.on_step_end(None, TrainerState(global_step=25), None)
        callback.on_train_end(None, TrainerState(), None)
        assert not run.alarms()
        (sentence,) = probes(run)
    assert "model, version or declaration has changed" in sentence
