"""`python -m engine.hardware.probe QUESTION`: one question to PyTorch, answered as a JSON line.

Each question gets a process of its own: on some GPUs a kernel that fails is noticed only later, somewhere else, and the
first convolution may take minutes until MIOpen has found a kernel. Where there is no GPU the CPU is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

REPEATS = 5


def devices() -> dict[str, Any]:
    """Facts of the device that jobs run on, and of every GPU that PyTorch sees."""
    import torch

    from engine.hardware.device import device_facts

    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]
    return {"devices": [asdict(device_facts(name)) | _architecture(name) for name in names]}


def attention() -> dict[str, Any]:
    """Milliseconds of attention over a clip's tokens, by back end; a back end that cannot do it says why."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    device, dtype, tokens = _bench_device()
    query = torch.randn(1, 12, tokens, 64, device=device, dtype=dtype)
    kinds = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH")
    found: dict[str, Any] = {"tokens": tokens, "dtype": str(dtype).removeprefix("torch.")}

    def run() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)

    for kind in kinds:
        try:
            with sdpa_kernel(getattr(SDPBackend, kind)):
                found[kind.lower()] = _milliseconds(run, device)
        except RuntimeError as error:
            found[kind.lower()] = _reason(error)
    found["chosen"] = _milliseconds(run, device)
    return found


def convolutions() -> dict[str, Any]:
    """Milliseconds of a VAE's 3D convolution, with the vendor's library (cuDNN, MIOpen) and without; first call apart.

    On ROCm `miopen_first` shows what MIOPEN_FIND_MODE saves.
    """
    import torch

    device, dtype, _ = _bench_device()
    size = 64 if device == "cpu" else 256
    layer = torch.nn.Conv3d(32, 32, 3, padding=1).to(device, dtype)
    clip = torch.randn(1, 32, 9, size, size, device=device, dtype=dtype)
    found: dict[str, Any] = {"shape": list(clip.shape), "dtype": str(dtype).removeprefix("torch.")}
    ways: dict[str, Any] = {"library": nullcontext(), "native": torch.backends.cudnn.flags(enabled=False)}
    for name, way in ways.items():
        try:
            with way, torch.no_grad():
                found[f"{name}_first"] = _milliseconds(lambda: layer(clip), device, repeats=1, warm=0)
                found[name] = _milliseconds(lambda: layer(clip), device)
        except RuntimeError as error:
            found[name] = _reason(error)
    return found


QUESTIONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "devices": devices,
    "attention": attention,
    "convolutions": convolutions,
}


def _architecture(name: str) -> dict[str, Any]:
    import torch

    if name == "cpu":
        return {"architecture": ""}
    properties = torch.cuda.get_device_properties(name)
    told = str(getattr(properties, "gcnArchName", "")).split(":")[0]
    return {"architecture": told or f"sm_{properties.major}{properties.minor}"}


def _bench_device() -> tuple[str, Any, int]:
    """Device, dtype and number of tokens that are worth measuring there."""
    import torch

    from engine.hardware.device import pick_device

    device = pick_device()
    return (device, torch.float32, 1024) if device == "cpu" else (device, torch.bfloat16, 8192)


def _milliseconds(run: Callable[[], Any], device: str, repeats: int = REPEATS, warm: int = 1) -> float:
    import torch

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    for _ in range(warm):
        run()
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    wait()
    return round(1000 * (time.perf_counter() - began) / repeats, 3)


def _reason(error: RuntimeError) -> str:
    lines = str(error).strip().splitlines()
    return f"not here: {lines[0][:120]}" if lines else "not here"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=tuple(QUESTIONS))
    sys.stdout.write(json.dumps(QUESTIONS[parser.parse_args().question]()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
