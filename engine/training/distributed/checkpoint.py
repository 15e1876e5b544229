"""Sharded checkpoints in PyTorch's distributed format: each process writes its part.

The folder holds the trained weights, the run's copies of them, and the optimiser's state, all under the weights' names.
A run can therefore resume with another number of processes, or with one. Conversely, `shard_optimizer_state` shards
the state that one process saved. `fill` and `read_tensors` are for the files of one process.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from engine.errors import TrainingError
from engine.training.distributed.process_group import is_first
from engine.training.distributed.sharding import shard_like
from engine.training.weights import WeightCopy, local, trainable

MODEL, OPTIMIZER, COPIES = "model", "optimizer", "copies"
UNREADABLE = (OSError, EOFError, UnpicklingError)
TRAINED_ONLY = StateDictOptions(ignore_frozen_params=True)


def save_shards(folder: Path, network: nn.Module, optimizer: Optimizer, copies: Mapping[str, WeightCopy]) -> None:
    """Write weights, copies and optimiser state; all processes must call it."""
    state = {**_weights(network, copies), OPTIMIZER: get_optimizer_state_dict(network, optimizer, options=TRAINED_ONLY)}
    save(state, checkpoint_id=folder)


def load_weights(folder: Path, network: nn.Module, copies: Mapping[str, WeightCopy]) -> None:
    """Load the trained weights and their copies; raise TrainingError for shards of another model or LoRA."""
    state = _weights(network, copies)
    _check_alike(folder, state)
    _load(folder, state)
    with torch.no_grad():
        for name, parameter in trainable(network):
            local(parameter).copy_(local(state[MODEL][name]))
        for name, copy in copies.items():
            for key, value in copy.values.items():
                local(value).copy_(local(state[COPIES][name][key]))


def load_optimizer(folder: Path, network: nn.Module, optimizer: Optimizer) -> None:
    """Load the optimiser's state."""
    state = {OPTIMIZER: get_optimizer_state_dict(network, optimizer, options=TRAINED_ONLY)}
    _load(folder, state)
    set_optimizer_state_dict(network, optimizer, state[OPTIMIZER], options=TRAINED_ONLY)


def shard_optimizer_state(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Shard the state that one process saved: each moment is sharded like its weight."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    spread = {
        index: {
            name: shard_like(value, parameters[index]) if value.shape == parameters[index].shape else value
            for name, value in moments.items()
        }
        for index, moments in state["state"].items()
    }
    return {**state, "state": spread}


def gather_full_weights(network: nn.Module) -> dict[str, Tensor]:
    """Gather the whole trained weights on the first process's CPU; empty on others. All must call it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    found: dict[str, Any] = get_model_state_dict(network, options=options)
    return dict(found) if is_first() else {}


@torch.no_grad()
def fill(targets: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy saved weights into those of the same name, in place."""
    for name, target in targets.items():
        local(target).copy_(local(shard_like(saved[name], target)))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's file; raise TrainingError when it cannot be read."""
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"The checkpoint's file {file} cannot be read ({error}): resume from an older one."
        ) from error
    return tensors


def _weights(network: nn.Module, copies: Mapping[str, WeightCopy]) -> dict[str, Any]:
    own = {name: parameter.detach() for name, parameter in trainable(network)}
    return {MODEL: own, COPIES: {name: dict(copy.values) for name, copy in copies.items()}}


def _load(folder: Path, state: dict[str, Any]) -> None:
    try:
        with warnings.catch_warnings():
            # One process may read what several wrote: that is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
            load(state, checkpoint_id=folder)
    except (*UNREADABLE, RuntimeError, CheckpointException) as error:
        raise TrainingError(
            f"The checkpoint's folder {folder} cannot be read ({_first_line(error)}): resume from an older one."
        ) from error


def _check_alike(folder: Path, state: dict[str, Any]) -> None:
    """Raise TrainingError unless the weights' names and shapes equal the saved ones."""
    try:
        saved = FileSystemReader(folder).read_metadata().state_dict_metadata
    except UNREADABLE as error:
        raise TrainingError(
            f"The checkpoint's folder {folder} cannot be read ({_first_line(error)}): resume from an older one."
        ) from error
    tensors = {name: one.size for name, one in saved.items() if isinstance(one, TensorStorageMetadata)}
    sizes = {n.removeprefix(f"{MODEL}."): size for n, size in tensors.items() if n.startswith(f"{MODEL}.")}
    own = {name: value.shape for name, value in state[MODEL].items()}
    unlike = sorted(name for name in sizes.keys() | own.keys() if sizes.get(name) != own.get(name))
    if unlike:
        raise TrainingError(
            f"The checkpoint {folder.parent} is of another model or LoRA ({len(unlike)} tensors differ, such as "
            f"'{unlike[0]}'): resume with the settings that it was made with."
        )


def _first_line(error: BaseException) -> str:
    """Return the first line of the error; for several processes, of the first failure."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return next(iter(str(error).splitlines()), type(error).__name__)


def follow_schedule(scheduler: Any) -> None:
    """Set the learning rates of a schedule's position in place of a checkpoint's.

    A checkpoint has those of the end that the run had then.
    """
    schedule = getattr(scheduler, "scheduler", scheduler)  # of accelerate's wrapper
    if isinstance(schedule, LambdaLR):
        rates = zip(schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True)
        for group, base, share in rates:
            group["lr"] = base * share(schedule.last_epoch)
