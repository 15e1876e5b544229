"""Training on a pairwise judge: a noisy judge with a known preference, killed and resumed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.config.presets import load_train_preset
from engine.runs.run import Run
from engine.workspace import Workspace
from tests.judge_server import judge_server, redness, say, videos

SETTINGS = {
    "num_frames": 9,
    "num_steps": 2,
    "num_generations": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "logging_steps": 1,
    "sample_clips": 0,
    "max_steps": 3,
    "save_steps": 1,
}
MIX = 'title = "Red"\ncalibration = "mini"\n[weights]\nred = 1.0\n[gates]\n' + "".join(
    f"{gate} = 0.0\n" for gate in ("motion", "liveness", "sharpness", "cut", "loop")
)


def noisy(body: dict[str, Any]) -> tuple[int, Any]:
    """Prefer the redder video, but err in one of five answers; the errors follow from the request alone."""
    first, second = (redness(frames) for frames in videos(body))
    errs = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()[0] < 51
    return say("A" if (first > second) != errs else "B")


@pytest.mark.slow
def test_a_killed_run_with_a_pairwise_judge_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: Any) -> None:
    presets = tmp_path / "presets"
    for kind in ("rewards", "external_rewards"):
        (presets / kind).mkdir(parents=True)
    (presets / "rewards" / "red.toml").write_text(MIX)
    monkeypatch.setenv("DAILIES_PRESETS", str(presets))
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    changes = {"mix": "red", "watch": None, "alarms": {"every": 0}, "settings": SETTINGS}
    with judge_server(noisy) as judge:
        table = f'[vlm]\nurl = "{judge.url}"\nmodel = "m"\nmode = "pairwise"\nask = "Which is redder?"\nframes = 2\n'
        (presets / "external_rewards" / "red.toml").write_text(f'title = "Red"\nrequired = true\n{table}')
        preset = load_train_preset("mini_nft", changes)
        whole, killed = (Run.create(Workspace(tmp_path / name).prepare(), preset) for name in "ab")
        assert run(whole).wait(250) == 0
        count, process = len(judge.requests), None

        def kill_late(body: dict[str, Any]) -> tuple[int, Any]:
            """Kill the trainer while it waits for the judge in its last update."""
            if len(judge.requests) == 2 * count - 3:
                assert process is not None
                os.kill(process.pid, signal.SIGKILL)
            return noisy(body)

        judge.behaviour = kill_late
        process = run(killed)
        assert process.wait(250) == -signal.SIGKILL
        assert not killed.has_adapter and killed.last_checkpoint() is not None
        judge.behaviour = noisy
        assert run(killed).wait(250) == 0
    first, second = weights(whole), weights(killed)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert any(tensor.abs().max() > 0 for name, tensor in first.items() if "lora_B" in name)
    row = whole.metrics()[-1]
    assert row["rewards/red/mean"] == pytest.approx(0.5)  # of all win rates in a group
    assert row["rewards/red/std"] > 0
    assert 0 < row["judge/red/first_chosen"] < 1 and row["judge/red/disagreement"] > 0


def run(folder: Run) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "engine.training.main", str(folder.folder)])


def weights(of: Run) -> dict[str, torch.Tensor]:
    (file,) = of.adapter.glob("*.safetensors")
    return load_file(file)
