"""The environment that workers and trainers start in: what suits ROCm, unless the user has said otherwise.

A variable that the user set always wins, and is shown with what would have stood there. Sources of the values are in
`reason`; none of them was measured on an AMD GPU by this project.
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
    """One variable as processes get it. `preset` is what Dailies would set, "" where it would leave it unset."""

    name: str
    value: str
    origin: Literal["user", "preset"]
    preset: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """`settings` in force, and `warnings`: what the user set that is likely to go wrong."""

    settings: tuple[EnvironmentVariable, ...]
    warnings: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """What is laid over a process's own environment."""
        return {one.name: one.value for one in self.settings if one.origin == "preset"}


def environment(
    workspace: Workspace, user: Mapping[str, str] | None = None, *, rocm: bool | None = None
) -> Environment:
    """What holds in this workspace; without ROCm nothing is set. `user` is the environment as it is."""
    given = os.environ if user is None else user
    rocm = is_rocm() if rocm is None else rocm
    presets = _presets(workspace) if rocm else {}
    settings = [_setting(name, value, why, given) for name, (value, why) in presets.items()]
    if rocm:
        settings += [
            _own(name, given) for name in (VISIBLE, ROCR_VISIBLE, CUDA_VISIBLE, OVERRIDE, TF32) if name in given
        ]
    return Environment(settings=tuple(settings), warnings=tuple(_warnings(given)) if rocm else ())


def process_environment(workspace: Workspace) -> dict[str, str]:
    """The whole environment for a process that computes; its cache folders are made.

    Raises ConfigError when the user's choice of devices contradicts itself.
    """
    return merge_env(os.environ, process_changes(workspace))


def process_changes(workspace: Workspace) -> dict[str, str | None]:
    """What differs from this process's environment; None: not set. Paths are absolute: the process may start in another
    folder. Raises ConfigError like `process_environment`, or for a bad path.
    """
    found = environment(workspace)
    if found.variables:
        workspace.miopen.mkdir(parents=True, exist_ok=True)
    where = {"DAILIES_WORKSPACE": str(workspace.root)}  # its presets count, whatever folder the process starts in
    where |= absolute_paths(os.environ)
    return {**where, **found.variables, **(visible_devices(os.environ) if is_rocm() else {})}


def merge_env(environment: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment with the changes; None takes a variable away."""
    changed = {**environment, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def visible_devices(user: Mapping[str, str]) -> dict[str, str | None]:
    """The user's choice of GPUs by HIP_VISIBLE_DEVICES alone, which Ray asks for and which counts from all GPUs.

    ROCR_VISIBLE_DEVICES comes first; HIP_VISIBLE_DEVICES, or CUDA_VISIBLE_DEVICES where that is not set, counts within
    it, as in the HIP runtime. Raises ConfigError when one of its numbers names a GPU that ROCR's hide.
    """
    if ROCR_VISIBLE not in user:
        return {}
    seen = [one.strip() for one in user[ROCR_VISIBLE].split(",")]
    inner = next((name for name in (VISIBLE, CUDA_VISIBLE) if name in user), None)
    wanted = [one.strip() for one in user.get(inner or VISIBLE, "").split(",") if one.strip()]
    if inner is None:
        return {ROCR_VISIBLE: None, VISIBLE: ",".join(seen)}
    if not all(int(one) < len(seen) if one.isdigit() else one in seen for one in wanted):
        raise ConfigError(
            f"{inner}={user[inner]} names a GPU that {ROCR_VISIBLE}={user[ROCR_VISIBLE]} hides, for its numbers "
            f"count within those: unset {ROCR_VISIBLE} and use {VISIBLE} alone."
        )
    chosen = [seen[int(one)] if one.isdigit() else one for one in wanted]
    return {ROCR_VISIBLE: None, VISIBLE: ",".join(chosen)}


def _presets(workspace: Workspace) -> dict[str, tuple[str, str]]:
    kernels = str(workspace.miopen)
    return {
        "MIOPEN_FIND_MODE": (
            "FAST",
            "No exhaustive search for convolution kernels: it stalls a first decode for minutes.",
        ),
        "MIOPEN_USER_DB_PATH": (kernels, "Kernels found once are kept, and with the workspace."),
        "MIOPEN_CUSTOM_CACHE_DIR": (kernels, "Kernels compiled once are kept, and with the workspace."),
        "PYTORCH_ALLOC_CONF": (
            "expandable_segments:False",
            "Expandable segments hang or swell on some ROCm builds (pytorch#192259, pytorch#193400).",
        ),
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": ("1", "A rank that fails ends the others, instead of leaving them waiting."),
    }


def _setting(name: str, preset: str, reason: str, user: Mapping[str, str]) -> EnvironmentVariable:
    names = ALLOCATORS if name in ALLOCATORS else (name,)
    own = next((one for one in names if one in user), None)
    if own is not None:
        return EnvironmentVariable(name=own, value=user[own], origin="user", preset=preset, reason=reason)
    return EnvironmentVariable(name=name, value=preset, origin="preset", preset=preset, reason=reason)


def _own(name: str, user: Mapping[str, str]) -> EnvironmentVariable:
    reasons = {
        VISIBLE: "Which GPUs processes see.",
        CUDA_VISIBLE: f"Which GPUs processes see, where {VISIBLE} is not set.",
        ROCR_VISIBLE: "Which GPUs the runtime sees, before HIP counts them.",
        OVERRIDE: "Pretends to be another architecture.",
        TF32: "1 lets float32 products be rounded to TF32.",
    }
    return EnvironmentVariable(name=name, value=user[name], origin="user", preset="", reason=reasons[name])


def _warnings(user: Mapping[str, str]) -> list[str]:
    found = []
    if ROCR_VISIBLE in user:
        both = (
            f" {VISIBLE}={user[VISIBLE]} then counts within those, and may hide every GPU." if VISIBLE in user else ""
        )
        found.append(
            f"{ROCR_VISIBLE}={user[ROCR_VISIBLE]} is set: the runtime hides the other GPUs before HIP counts them, and "
            f"Ray refuses to start.{both} Processes are given the same GPUs by {VISIBLE} alone; better unset it."
        )
    if OVERRIDE in user:
        found.append(f"{OVERRIDE}={user[OVERRIDE]} is set: never needed on AMD Instinct; unset it.")
    conf = next((user[name] for name in ALLOCATORS if name in user), "")
    if "expandable_segments:true" in conf.lower():
        found.append("Expandable segments are on: they hang or swell on some ROCm builds; turn them off first.")
    return found
