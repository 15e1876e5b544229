"""Which device the networks run on, and what it is. ROCm's PyTorch calls its GPUs "cuda" too."""

import os
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """One device. `memory_gib` is its own memory (of a CPU: the machine's), `free_gib` what of it is free now."""

    device: str
    backend: Literal["cuda", "rocm", "cpu"]
    name: str
    memory_gib: float
    free_gib: float
    torch_version: str
    runtime_version: str
    bfloat16: bool


def pick_device() -> str:
    """DAILIES_DEVICE where it is set, else the first GPU (CUDA or ROCm), else the CPU.

    Raises ConfigError when the variable asks for a GPU that PyTorch does not see.
    """
    import torch

    wanted = os.environ.get("DAILIES_DEVICE", "").strip()
    if not wanted:
        return "cuda" if torch.cuda.is_available() else "cpu"
    num_gpus = torch.cuda.device_count()
    known = ["cpu", *(["cuda"] if num_gpus else []), *(f"cuda:{index}" for index in range(num_gpus))]
    if wanted not in known:
        raise ConfigError(
            f"DAILIES_DEVICE={wanted} is not on this machine: use one of {', '.join(known)}, or leave it unset."
        )
    return wanted


def device_facts(device: str | None = None) -> DeviceFacts:
    """What `device` is (None: the one that `pick_device` picks)."""
    device = device or pick_device()
    return _cpu_facts() if device == "cpu" else _gpu_facts(device)


def _cpu_facts() -> DeviceFacts:
    import platform

    import psutil
    import torch

    memory = psutil.virtual_memory()
    return DeviceFacts(
        device="cpu",
        backend="cpu",
        name=f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        memory_gib=memory.total / GIB,
        free_gib=memory.available / GIB,
        torch_version=torch.__version__,
        runtime_version="",
        bfloat16=True,
    )


def _gpu_facts(device: str) -> DeviceFacts:
    import torch

    free, total = torch.cuda.mem_get_info(device)
    hip = torch.version.hip
    return DeviceFacts(
        device=device,
        backend="rocm" if hip else "cuda",
        name=torch.cuda.get_device_name(device),
        memory_gib=total / GIB,
        free_gib=free / GIB,
        torch_version=torch.__version__,
        runtime_version=str(hip or torch.version.cuda or ""),
        bfloat16=torch.cuda.is_bf16_supported(),
    )
