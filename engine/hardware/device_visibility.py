"""The GPUs that processes on this machine may use, counted without PyTorch, and how a process is kept to some of them.

They are numbered as PyTorch numbers them: within what the user left visible. That telemetry counts in the same order
was not verified on a machine with several GPUs.
"""

import os
from collections.abc import Mapping, Sequence

from engine.hardware.environment import CUDA_VISIBLE, VISIBLE, visible_devices
from engine.hardware.rocm import TorchBuild, torch_build
from engine.hardware.telemetry.monitor import Telemetry

CHOSEN = "DAILIES_DEVICE"


def visible_names(user: Mapping[str, str], build: TorchBuild, num_gpus: int) -> tuple[str, ...]:
    """What `narrowed` calls each device; one empty name where there is nothing to choose: one GPU, or the CPU.

    `num_gpus` is how many the machine has, whatever the user lets processes see of them. On ROCm
    CUDA_VISIBLE_DEVICES counts where HIP_VISIBLE_DEVICES is not set, and both count within ROCR_VISIBLE_DEVICES. Raises
    ConfigError when those contradict each other.
    """
    if user.get(CHOSEN, "").strip() or not (build.hip or build.cuda):
        return ("",)
    told = _told(user, build)
    names = [str(index) for index in range(num_gpus)] if told is None else [one.strip() for one in told.split(",")]
    return tuple(names) if len(names) > 1 else ("",)


def devices_here() -> tuple[str, ...]:
    """`visible_names` of this machine and this process's environment."""
    return visible_names(os.environ, torch_build(), len(Telemetry().snapshot().gpus))


def visible_devices_env(names: Sequence[str], devices: Sequence[int]) -> dict[str, str | None]:
    """What a process's environment needs to see these of the devices only; nothing where there is nothing to choose."""
    if len(names) <= 1 or not devices:
        return {}
    return {_variable(torch_build()): ",".join(names[index] for index in sorted(devices))}


def _told(user: Mapping[str, str], build: TorchBuild) -> str | None:
    """The user's own list of devices, counted from all of the machine's; None where there is none."""
    if not build.hip:
        return user.get(CUDA_VISIBLE)
    return visible_devices(user).get(VISIBLE) or user.get(VISIBLE, user.get(CUDA_VISIBLE))


def _variable(build: TorchBuild) -> str:
    return VISIBLE if build.hip else CUDA_VISIBLE
