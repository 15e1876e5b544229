"""Trainings in processes of their own, by `rank_program.py`, and what they came to."""

import importlib.util
import json
import os
import socket
import subprocess
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

PROGRAM = Path(__file__).with_name("rank_program.py")
ACCELERATE_FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
PLAIN_STEPS = {"optim": "sgd", "max_grad_norm": 0.0, "max_steps": 2}  # an update is the gradient: nothing is normalised
DPO = {"kind": "dpo", "settings": {**PLAIN_STEPS, "learning_rate": 1e-3, "error_scale": 25_000.0}}
FLOAT32_SUMS = 5e-6
"""Gradients of the same clips, summed in another order and in batches of another shape: some 1e3 terms of 24 bits, of
which 2e-7 to 6e-7 was seen."""


def run_here(jobs: list[dict[str, Any]]) -> None:
    """Run the jobs in this process, which saves the imports of a new one."""
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*returned a view tensor.*")  # as the program does
        for one in jobs:
            program.run(one)


def launch(jobs: list[dict[str, Any]], folder: Path, python: str, **environment: str) -> None:
    """Run the jobs in two processes; fails with their output when one of them does."""
    count = 2
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "DAILIES_DEVICE": "cpu", "PYTHONPATH": str(PROGRAM.parents[4])}
    shared |= {**environment, "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command, output = [python, str(PROGRAM), str(folder / "jobs.json")], folder / "output.txt"
    with output.open("ab") as file:
        processes = [
            subprocess.Popen(command, env={**shared, **place(rank, count)}, stdout=file, stderr=file)
            for rank in range(count)
        ]
    try:
        codes = [process.wait(600) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0] * count, output.read_text(errors="replace")[-5000:]


def place(rank: int, count: int) -> dict[str, str]:
    """Return the environment variables that a launcher sets for a process."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}


def job(preset: dict[str, Any], out: Path, model: Path, size: int | None = None, **others: Any) -> dict[str, Any]:
    sized = {"per_device_train_batch_size": size} if size else {}
    settings = {**preset["settings"], **sized, **others.pop("settings", {})}
    return {**preset, "out": str(out), "model": str(model), "settings": settings, **others}


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "weights.safetensors")


def told(run: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(run.glob("rank-*.json"))]


def difference(left: Path, right: Path) -> float:
    """Of the weights that began at zero, so that they are what training did: relative to their size."""
    one, other = ({n: w for n, w in weights(run).items() if "lora_B" in n} for run in (left, right))
    assert one.keys() == other.keys() and one
    change = torch.cat([one[name].flatten() for name in one])
    assert change.norm() > 0
    return float((change - torch.cat([other[name].flatten() for name in one])).norm() / change.norm())
