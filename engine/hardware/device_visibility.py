"""GPUs visible to processes on this machine, and restriction of a process to some of them.

They are counted without PyTorch, and numbered as in PyTorch: among the devices that the user left visible. It is not
verified on a machine with several GPUs that telemetry lists them in the same order.
"""

import os
from collections.abc import Mapping, Sequence

from engine.hardware.environment import CUDA_VISIBLE, VISIBLE, visible_devices
from engine.hardware.rocm import TorchBuild, torch_build
from engine.hardware.telemetry.monitor import Telemetry

DEVICE = "DAILIES_DEVICE"


def visible_names(user: Mapping[str, str], build: TorchBuild, num_gpus: int) -> tuple[str, ...]:
    """Return the name of each visible device for `visible_devices_env`.

    The result is one empty name when there is no choice: a single GPU, or the CPU. `num_gpus` is the number of GPUs in
    the machine, visible or not. On ROCm, CUDA_VISIBLE_DEVICES applies if HIP_VISIBLE_DEVICES is not set, and both index
    into ROCR_VISIBLE_DEVICES. Raises ConfigError when these variables contradict each other.
    """
    if user.get(DEVICE, "").strip() or not (build.hip or build.cuda):
        return ("",)
    chosen = _user_devices(user, build)
    names = (
        [str(index) for index in range(num_gpus)] if chosen is None else [part.strip() for part in chosen.split(",")]
    )
    return tuple(names) if len(names) > 1 else ("",)


def devices_here() -> tuple[str, ...]:
    """Return `visible_names` for this machine and this process's environment."""
    return visible_names(os.environ, torch_build(), len(Telemetry().snapshot().gpus))


def visible_devices_env(names: Sequence[str], devices: Sequence[int]) -> dict[str, str | None]:
    """Return the variables that restrict a process to these devices; empty when there is no choice."""
    if len(names) <= 1 or not devices:
        return {}
    return {_variable(torch_build()): ",".join(names[index] for index in sorted(devices))}


def _user_devices(user: Mapping[str, str], build: TorchBuild) -> str | None:
    """Return the user's list of devices, indexed among all GPUs of the machine; None if there is none."""
    if not build.hip:
        return user.get(CUDA_VISIBLE)
    return visible_devices(user).get(VISIBLE) or user.get(VISIBLE, user.get(CUDA_VISIBLE))


def _variable(build: TorchBuild) -> str:
    return VISIBLE if build.hip else CUDA_VISIBLE
