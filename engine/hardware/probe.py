"""`python -m engine.hardware.probe CHECK`: run one PyTorch check and print the result as a JSON line.

Each check runs in a process of its own: on some GPUs a failed kernel is reported only by a later call, and the first
convolution may take minutes until MIOpen has found a kernel. Without a GPU, the CPU is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from engine.hardware.device import device_facts, pick_device

REPEATS = 5


def devices() -> dict[str, Any]:
    """Describe every GPU that PyTorch sees, or the CPU."""
    import torch

    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]
    return {"devices": [asdict(device_facts(name)) | _architecture(name) for name in names]}


def attention() -> dict[str, Any]:
    """Measure attention over a clip's tokens per backend, in ms.

    A failing backend gets the reason instead.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    device, dtype, tokens = _bench_device()
    query = torch.randn(1, 12, tokens, 64, device=device, dtype=dtype)
    backends = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION", "MATH")
    result: dict[str, Any] = {"tokens": tokens, "dtype": str(dtype).removeprefix("torch.")}

    def run() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)

    for backend in backends:
        try:
            with sdpa_kernel(getattr(SDPBackend, backend)):
                result[backend.lower()] = _milliseconds(run, device)
        except RuntimeError as error:
            result[backend.lower()] = _reason(error)
    result["chosen"] = _milliseconds(run, device)
    return result


def convolutions() -> dict[str, Any]:
    """Measure a VAE's 3D convolution with and without the vendor's library (cuDNN, MIOpen), in ms.

    The first call is measured separately: on ROCm, `library_first` shows the effect of MIOPEN_FIND_MODE.
    """
    import torch

    device, dtype, _ = _bench_device()
    size = 64 if device == "cpu" else 256
    layer = torch.nn.Conv3d(32, 32, 3, padding=1).to(device, dtype)
    clip = torch.randn(1, 32, 9, size, size, device=device, dtype=dtype)
    result: dict[str, Any] = {"shape": list(clip.shape), "dtype": str(dtype).removeprefix("torch.")}
    modes: dict[str, Any] = {"library": nullcontext(), "native": torch.backends.cudnn.flags(enabled=False)}
    for name, mode in modes.items():
        try:
            with mode, torch.no_grad():
                result[f"{name}_first"] = _milliseconds(lambda: layer(clip), device, repeats=1, warm=0)
                result[name] = _milliseconds(lambda: layer(clip), device)
        except RuntimeError as error:
            result[name] = _reason(error)
    return result


CHECKS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "devices": devices,
    "attention": attention,
    "convolutions": convolutions,
}


def _architecture(name: str) -> dict[str, Any]:
    import torch

    if name == "cpu":
        return {"architecture": ""}
    properties = torch.cuda.get_device_properties(name)
    gcn_name = str(getattr(properties, "gcnArchName", "")).split(":")[0]
    return {"architecture": gcn_name or f"sm_{properties.major}{properties.minor}"}


def _bench_device() -> tuple[str, Any, int]:
    """Return the device, and a dtype and number of tokens that suit it."""
    import torch

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
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    wait()
    return round(1000 * (time.perf_counter() - start) / repeats, 3)


def _reason(error: RuntimeError) -> str:
    lines = str(error).strip().splitlines()
    return f"not here: {lines[0][:120]}" if lines else "not here"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=tuple(CHECKS))
    sys.stdout.write(json.dumps(CHECKS[parser.parse_args().question]()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
