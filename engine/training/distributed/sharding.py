"""Sharded weights: each process holds a part of every tensor and gathers one block at a time.

`accelerate launch` requests sharding through the environment (`presets/accelerate/`). The sharding itself is PyTorch's
`fully_shard` (FSDP2), on GPUs and, over gloo, on CPUs, where accelerate would silently train unsharded. The family
defines the blocks.

A network that trains keeps the precision it was loaded in, and gradients are averaged in float32: the update is that of
one process with the whole batch.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from engine.errors import ConfigError, TrainingError
from engine.training.distributed.process_group import world_size
from engine.training.weights import trainable

ASKED = "ACCELERATE_USE_FSDP"

REQUIRED = {
    "FSDP_VERSION": ("2", "fsdp_version: 2, since the first version cannot mix trained and frozen weights"),
    "FSDP_AUTO_WRAP_POLICY": (
        "TRANSFORMER_BASED_WRAP",
        "fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP, as the blocks are the family's",
    ),
    "FSDP_STATE_DICT_TYPE": (
        "SHARDED_STATE_DICT",
        "fsdp_state_dict_type: SHARDED_STATE_DICT; the adapter of each checkpoint is saved whole anyway",
    ),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (
        "false",
        "fsdp_cpu_ram_efficient_loading: false, or text encoders would be empty on all processes but one",
    ),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "false",
        "fsdp_activation_checkpointing: false, and the preset's gradient_checkpointing instead",
    ),
    "FSDP_RESHARD_AFTER_FORWARD": (
        "true",
        "fsdp_reshard_after_forward: true; where there is memory for more, replicated_1x8.yaml is faster",
    ),
    "FSDP_OFFLOAD_PARAMS": ("false", "fsdp_offload_params: false, since shards stay on their devices"),
    "ACCELERATE_MIXED_PRECISION": ("no", "mixed_precision: no, since the model's preset sets its dtype"),
}
"""Variables that `accelerate launch` sets, their only supported value, and the config file's setting for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """Sharding of a run; `classes` of its blocks, where the launcher's file overrides the family's."""

    classes: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Read the launcher's request; None without sharding. Raises ConfigError for unsupported options."""
        if environment.get(ASKED, "false").lower() != "true":
            return None
        for name, (needed, saying) in REQUIRED.items():
            found = environment.get(name, needed)
            if found.lower() != needed.lower():
                raise ConfigError(f"The launcher's file asks for {name}={found}, but it has to say {saying}.")
        names = environment.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "").split(",")
        return cls(classes=tuple(name.strip() for name in names if name.strip()))


@contextmanager
def hide_fsdp_from_accelerate() -> Iterator[None]:
    """Hide the sharding request from accelerate, which would shard again, or wrongly not at all."""
    found = os.environ.pop(ASKED, None)
    try:
        yield
    finally:
        if found is not None:
            os.environ[ASKED] = found


def shard(
    network: nn.Module,
    blocks: Sequence[str],
    sharding: Sharding,
    device: torch.device,
    compute: torch.dtype | None = None,
) -> None:
    """Shard the network in place over all processes, each module of the classes `blocks` as a unit.

    `compute` is what whole weights are cast to for the forward and backward pass; None: as they are. Raises ConfigError
    without other processes, or for a network that has no such blocks.
    """
    if not torch.distributed.is_initialized():
        raise ConfigError("Sharding (FSDP) was asked for, but there is one process: start it with accelerate launch.")
    wanted = sharding.classes or tuple(blocks)
    units = [module for module in network.modules() if type(module).__name__ in wanted]
    if not units:
        raise ConfigError(
            f"The network has no blocks of class {' or '.join(wanted) or '(none named)'}, so it cannot be sharded: "
            "leave fsdp_transformer_layer_cls_to_wrap out of the launcher's file."
        )
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (world_size(),)),
        "reshard_after_forward": True,  # of the outermost too: policies are swapped between passes, in the shards
        "mp_policy": MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32),
    }
    for module in [*reversed(units), network]:  # inner ones first
        fully_shard(module, **options)


def check_sharded(network: nn.Module) -> None:
    """Raise TrainingError when a trained weight is not sharded over all processes."""
    parameters = trainable(network)
    whole = [name for name, parameter in parameters if not _is_spread(parameter)]
    if whole or not parameters:
        raise TrainingError(
            f"The run was launched to be sharded (FSDP), but {len(whole)} of its {len(parameters)} trained tensors are "
            f"whole on every process{f', such as {whole[0]}' if whole else ''}: nothing was trained. Report this, or "
            "launch it with presets/accelerate/replicated_1x8.yaml."
        )


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Shard a tensor that is equal on all processes like `like`; keep it whole where `like` is whole."""
    there = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return there
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


def _is_spread(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, DTensor) and parameter.device_mesh.size() == world_size()
