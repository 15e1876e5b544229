"""Processes that train one run together: ranks, collectives, and averaging of gradients.

A launcher (`accelerate launch`, torchrun) starts the processes and sets their number in the environment. Each process
makes and scores the clips of its part of a batch; only the first one writes into the run's folder. Without a launcher
there is one process, the first, and these functions do nothing.

This module does not import torch, since the command line calls `is_launched` before it loads any model.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import DailiesError
from engine.hardware.device import pick_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

Value = TypeVar("Value")

RANK, WORLD_SIZE = "RANK", "WORLD_SIZE"
COLLECTIVE_TIMEOUT = timedelta(hours=2)
"""Timeout of collectives, long because the other processes wait while the first one scores samples."""

BUCKET_NUMEL = 2**26
"""Maximum number of gradient elements in one all-reduce."""


# ------------------------------------------------------------------------------------------------------------ the group


def is_launched() -> bool:
    """Return True when a launcher started this process as one of several."""
    return RANK in os.environ and int(os.environ.get(WORLD_SIZE) or 1) > 1


@contextmanager
def process_group() -> Iterator[None]:
    """Join the launcher's process group inside the block; do nothing without a launcher.

    The group is destroyed only when the block succeeds. A process that fails exits without waiting, and the launcher
    then ends the others.
    """
    if not is_launched():
        yield
        return
    import torch.distributed as dist
    from accelerate import PartialState

    PartialState(cpu=pick_device() == "cpu", timeout=COLLECTIVE_TIMEOUT)
    yield
    dist.destroy_process_group()


def is_distributed() -> bool:
    """Return True when this process is in a group, possibly of one."""
    return "torch.distributed" in sys.modules and _group().is_available() and _group().is_initialized()


def world_size() -> int:
    """Number of processes that train together."""
    return _group().get_world_size() if is_distributed() else 1


def rank() -> int:
    """Index of this process, from 0."""
    return _group().get_rank() if is_distributed() else 0


def is_first() -> bool:
    """Return True in the process that writes."""
    return rank() == 0


# ---------------------------------------------------------------------------------------------------------- collectives


def wait_for_all() -> None:
    """Wait until every process has called this function."""
    if is_distributed():
        _group().barrier()


def broadcast_object(value: Value) -> Value:
    """Return the first process's value on all processes."""
    if not is_distributed():
        return value
    values = [value]
    _group().broadcast_object_list(values, src=0)
    return values[0]


def any_rank(flag: bool) -> bool:
    """Return True when the flag is set on at least one process."""
    return any(_all_gather_objects(flag))


def on_rank_zero(make: Callable[[], Value]) -> Value:
    """Call `make` on the first process and return its result on all; a DailiesError is raised on all."""
    result: Value | DailiesError | None = None
    if is_first():
        try:
            result = make()
        except DailiesError as error:
            result = error
    result = broadcast_object(result)
    if isinstance(result, DailiesError):
        raise result
    return result  # type: ignore[return-value]


def all_reduce_means(means: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each number over the processes that have it."""
    by_rank = _all_gather_objects(dict(means))
    names = dict.fromkeys(name for numbers in by_rank for name in numbers)
    present = {name: [numbers[name] for numbers in by_rank if name in numbers] for name in names}
    return {name: sum(values) / len(values) for name, values in present.items()}


def all_gather_rows(rows: "Tensor") -> "Tensor":
    """Gather `[N, ...]` of each process to `[W * N, ...]` on all of them, in rank order."""
    if not is_distributed():
        return rows
    import torch

    own = rows.to(_device()).contiguous()
    gathered = [torch.empty_like(own) for _ in range(world_size())]
    _group().all_gather(gathered, own)
    return torch.cat(gathered).to(rows.device)


def local_slice(count: int) -> slice:
    """Return the slice of W * `count` rows that belongs to this process."""
    return slice(rank() * count, (rank() + 1) * count)


def set_epoch(loader: "DataLoader[object]", epoch: int) -> None:
    """Set the epoch on all samplers below a loader that skips or distributes batches."""
    layer: object = loader
    while layer is not None:
        sampler = getattr(layer, "sampler", None)
        for candidate in (layer, sampler):
            if candidate is not loader and hasattr(candidate, "set_epoch"):
                candidate.set_epoch(epoch)
        layer = getattr(layer, "batch_sampler", None)


# -------------------------------------------------------------------------------------------------------------- weights


def average_gradients(parameters: "Sequence[nn.Parameter]") -> None:
    """Replace each gradient by its mean over the processes.

    A missing gradient counts as 0; a parameter without a gradient on every process keeps none.
    """
    if world_size() == 1:
        return
    import torch

    used = torch.tensor([parameter.grad is not None for parameter in parameters], device=_device(), dtype=torch.int32)
    _group().all_reduce(used)
    shared = [parameter for parameter, count in zip(parameters, used.tolist(), strict=True) if count]
    for bucket in _buckets(shared):
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in bucket]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        _group().all_reduce(flat)
        flat /= world_size()
        pieces = flat.split([parameter.numel() for parameter in bucket])
        for parameter, piece in zip(bucket, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def broadcast_parameters(parameters: "Sequence[nn.Parameter]") -> None:
    """Copy the first process's weights to all processes."""
    if is_distributed():
        for parameter in parameters:
            _group().broadcast(parameter.data, src=0)


def _buckets(parameters: "Sequence[nn.Parameter]") -> "Iterator[list[nn.Parameter]]":
    """Split the parameters, in order, into buckets of at most BUCKET_NUMEL elements."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET_NUMEL:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


# ------------------------------------------------------------------------------------------------------------- internal


def _all_gather_objects(value: Value) -> list[Value]:
    """Return each process's value, in rank order."""
    if not is_distributed():
        return [value]
    values = [value] * world_size()
    _group().all_gather_object(values, value)
    return values


def _group() -> Any:
    import torch.distributed as dist

    return dist


def _device() -> "torch.device":
    """Device of tensors in collectives."""
    import torch

    return torch.device("cuda" if "nccl" in str(_group().get_backend()) else "cpu")
