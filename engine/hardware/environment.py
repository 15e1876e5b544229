"""Environment of workers and trainers: settings for ROCm, which the user's own variables override.

A variable set by the user always wins, and is shown together with the value that it replaces. The sources of the values
are in `reason`; none of them was measured on an AMD GPU by this project.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engine.errors import ConfigError
from engine.hardware.job_environment import absolute_paths
from engine.hardware.rocm import TF32, is_rocm
from engine.workspace import Workspace

VISIBLE, ROCR_VISIBLE = "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
CUDA_VISIBLE = "CUDA_VISIBLE_DEVICES"
OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
ALLOCATORS = ("PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable:
    """A variable as processes get it. `preset` is the value that Dailies would set, "" if it sets none."""

    name: str
    value: str
    origin: Literal["user", "preset"]
    preset: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """`settings` in force, and `warnings` about the user's variables that are likely to cause problems."""

    settings: tuple[EnvironmentVariable, ...]
    warnings: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """Variables that override a process's own environment."""
        return {setting.name: setting.value for setting in self.settings if setting.origin == "preset"}


def environment(
    workspace: Workspace, user: Mapping[str, str] | None = None, *, rocm: bool | None = None
) -> Environment:
    """Return the settings for this workspace; without ROCm there are none.

    `user` is the current environment.
    """
    user = os.environ if user is None else user
    rocm = is_rocm() if rocm is None else rocm
    presets = _presets(workspace) if rocm else {}
    settings = [_setting(name, value, why, user) for name, (value, why) in presets.items()]
    if rocm:
        settings += [_own(name, user) for name in (VISIBLE, ROCR_VISIBLE, CUDA_VISIBLE, OVERRIDE, TF32) if name in user]
    return Environment(settings=tuple(settings), warnings=tuple(_warnings(user)) if rocm else ())


def process_environment(workspace: Workspace) -> dict[str, str]:
    """Return the full environment of a compute process, and create its cache folders.

    Raises ConfigError when the user's device variables contradict each other.
    """
    return merge_env(os.environ, process_changes(workspace))


def process_changes(workspace: Workspace) -> dict[str, str | None]:
    """Return the changes to this process's environment for a compute process; None unsets a variable.

    Paths are absolute, since the process may start in another folder. Raises ConfigError like `process_environment`,
    and for a bad path.
    """
    settings = environment(workspace)
    if settings.variables:
        workspace.miopen.mkdir(parents=True, exist_ok=True)
    paths = {"DAILIES_WORKSPACE": str(workspace.root)}  # the process may start in another folder
    paths |= absolute_paths(os.environ)
    return {**paths, **settings.variables, **(visible_devices(os.environ) if is_rocm() else {})}


def merge_env(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the environment with the changes applied; None unsets a variable."""
    changed = {**environment, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def visible_devices(user: Mapping[str, str]) -> dict[str, str | None]:
    """Express the user's choice of GPUs by HIP_VISIBLE_DEVICES alone, as Ray requires.

    The result is indexed among all GPUs of the machine. As in the HIP runtime, ROCR_VISIBLE_DEVICES applies first;
    HIP_VISIBLE_DEVICES, or else CUDA_VISIBLE_DEVICES, indexes into it. Raises ConfigError when an index names a GPU
    that ROCR_VISIBLE_DEVICES hides.
    """
    if ROCR_VISIBLE not in user:
        return {}
    visible = [part.strip() for part in user[ROCR_VISIBLE].split(",")]
    inner = next((name for name in (VISIBLE, CUDA_VISIBLE) if name in user), None)
    indices = [part.strip() for part in user.get(inner or VISIBLE, "").split(",") if part.strip()]
    if inner is None:
        return {ROCR_VISIBLE: None, VISIBLE: ",".join(visible)}
    if not all(int(index) < len(visible) if index.isdigit() else index in visible for index in indices):
        raise ConfigError(
            f"{inner}={user[inner]} names a GPU that {ROCR_VISIBLE}={user[ROCR_VISIBLE]} hides, since it indexes "
            f"into that list: unset {ROCR_VISIBLE} and use {VISIBLE} alone."
        )
    chosen = [visible[int(index)] if index.isdigit() else index for index in indices]
    return {ROCR_VISIBLE: None, VISIBLE: ",".join(chosen)}


def _presets(workspace: Workspace) -> dict[str, tuple[str, str]]:
    kernels = str(workspace.miopen)
    return {
        "MIOPEN_FIND_MODE": (
            "FAST",
            "Avoids the exhaustive search for convolution kernels, which delays a first decode by minutes.",
        ),
        "MIOPEN_USER_DB_PATH": (kernels, "Keeps the kernels that MIOpen found, in the workspace."),
        "MIOPEN_CUSTOM_CACHE_DIR": (kernels, "Keeps the compiled kernels, in the workspace."),
        "PYTORCH_ALLOC_CONF": (
            "expandable_segments:False",
            "Expandable segments hang or grow without bound on some ROCm builds (pytorch#192259, pytorch#193400).",
        ),
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": (
            "1",
            "A failed rank ends the other ranks, which would otherwise wait for it.",
        ),
    }


def _setting(name: str, preset: str, reason: str, user: Mapping[str, str]) -> EnvironmentVariable:
    names = ALLOCATORS if name in ALLOCATORS else (name,)
    own = next((candidate for candidate in names if candidate in user), None)
    if own is not None:
        return EnvironmentVariable(name=own, value=user[own], origin="user", preset=preset, reason=reason)
    return EnvironmentVariable(name=name, value=preset, origin="preset", preset=preset, reason=reason)


def _own(name: str, user: Mapping[str, str]) -> EnvironmentVariable:
    reasons = {
        VISIBLE: "GPUs visible to processes.",
        CUDA_VISIBLE: f"GPUs visible to processes, if {VISIBLE} is not set.",
        ROCR_VISIBLE: "GPUs visible to the runtime, before HIP numbers them.",
        OVERRIDE: "Makes the runtime treat the GPU as another architecture.",
        TF32: "1 allows TF32 rounding in float32 matrix products.",
    }
    return EnvironmentVariable(name=name, value=user[name], origin="user", preset="", reason=reasons[name])


def _warnings(user: Mapping[str, str]) -> list[str]:
    warnings = []
    if ROCR_VISIBLE in user:
        both = (
            f" {VISIBLE}={user[VISIBLE]} then indexes into that list, and may hide every GPU."
            if VISIBLE in user
            else ""
        )
        warnings.append(
            f"{ROCR_VISIBLE}={user[ROCR_VISIBLE]} is set: the runtime hides the other GPUs before HIP numbers them, "
            f"and Ray refuses to start.{both} Dailies passes the same GPUs by {VISIBLE} alone; better unset it."
        )
    if OVERRIDE in user:
        warnings.append(f"{OVERRIDE}={user[OVERRIDE]} is set: AMD Instinct never needs it; unset it.")
    conf = next((user[name] for name in ALLOCATORS if name in user), "")
    if "expandable_segments:true" in conf.lower():
        warnings.append(
            "Expandable segments are on: they hang or grow without bound on some ROCm builds; turn them off first."
        )
    return warnings
