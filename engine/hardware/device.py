"""Selection and description of the compute device. PyTorch for ROCm also calls its GPUs "cuda"."""

import os
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """Description of a device.

    `memory_gib` is its memory (of a CPU: the machine's), `free_gib` the free part.
    """

    device: str
    backend: Literal["cuda", "rocm", "cpu"]
    name: str
    memory_gib: float
    free_gib: float
    torch_version: str
    runtime_version: str
    bfloat16: bool


def pick_device() -> str:
    """Return DAILIES_DEVICE if set, else the first GPU (CUDA or ROCm), else the CPU.

    Raises ConfigError when the variable names a GPU that PyTorch does not see.
    """
    import torch

    requested = os.environ.get("DAILIES_DEVICE", "").strip()
    if not requested:
        return "cuda" if torch.cuda.is_available() else "cpu"
    num_gpus = torch.cuda.device_count()
    available = ["cpu", *(["cuda"] if num_gpus else []), *(f"cuda:{index}" for index in range(num_gpus))]
    if requested not in available:
        raise ConfigError(
            f"DAILIES_DEVICE={requested} is not on this machine: use one of {', '.join(available)}, or leave it unset."
        )
    return requested


def device_facts(device: str | None = None) -> DeviceFacts:
    """Describe `device`, by default the one returned by `pick_device`."""
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
