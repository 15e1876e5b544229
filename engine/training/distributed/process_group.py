"""Several processes that train one run together: who is who, what they tell each other, and the mean of gradients.

A launcher (`accelerate launch`, torchrun) starts the processes and says in the environment how many there are. Each of
them makes and scores the clips of its own share of a batch; the first one alone writes into the run's folder. Without
a launcher everything here is free: one process, which is the first.

Imports no torch: the command line asks whether it was launched before there is a reason to load a model.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import DailiesError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

Value = TypeVar("Value")

RANK, WORLD_SIZE = "RANK", "WORLD_SIZE"
COLLECTIVE_TIMEOUT = timedelta(hours=2)
"""How long processes wait for each other: the first one scores samples while the others have nothing to do."""

BUCKET_NUMEL = 2**26
"""Numbers that are exchanged at once."""


# ------------------------------------------------------------------------------------------------------------ the group


def is_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return RANK in os.environ and int(os.environ.get(WORLD_SIZE) or 1) > 1


@contextmanager
def process_group() -> Iterator[None]:
    """The processes that the launcher started know each other inside the block; nothing without a launcher.

    They part when the block ends well. One that fails must not wait for the others to part: it just ends, and the
    launcher ends the others.
    """
    if not is_launched():
        yield
        return
    import torch.distributed as dist
    from accelerate import PartialState

    from engine.hardware.device import pick_device

    PartialState(cpu=pick_device() == "cpu", timeout=COLLECTIVE_TIMEOUT)
    yield
    dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether this process is in a group, be it alone in it."""
    return "torch.distributed" in sys.modules and _group().is_available() and _group().is_initialized()


def world_size() -> int:
    """How many processes train together."""
    return _group().get_world_size() if is_distributed() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return _group().get_rank() if is_distributed() else 0


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


# -------------------------------------------------------------------------------------------- what they tell each other


def wait_for_all() -> None:
    """Go on when every process is here."""
    if is_distributed():
        _group().barrier()


def broadcast_object(value: Value) -> Value:
    """What the first process has, told to all of them."""
    if not is_distributed():
        return value
    told = [value]
    _group().broadcast_object_list(told, src=0)
    return told[0]


def any_rank(wanted: bool) -> bool:
    """Whether at least one process wants it."""
    return any(_told_by_all(wanted))


def on_rank_zero(make: Callable[[], Value]) -> Value:
    """What `make` gives the first process, told to all of them. Its DailiesError is raised in all of them."""
    made: Value | DailiesError | None = None
    if is_first():
        try:
            made = make()
        except DailiesError as error:
            made = error
    found = broadcast_object(made)
    if isinstance(found, DailiesError):
        raise found
    return found  # type: ignore[return-value]


def all_reduce_means(means: Mapping[str, float]) -> dict[str, float]:
    """The mean of each number over the processes that have it."""
    everybody = _told_by_all(dict(means))
    names = dict.fromkeys(name for one in everybody for name in one)
    known = {name: [one[name] for one in everybody if name in one] for name in names}
    return {name: sum(values) / len(values) for name, values in known.items()}


def all_gather_rows(rows: "Tensor") -> "Tensor":
    """`[N, ...]` of each process to `[W * N, ...]` in every one of them, in the order of their ranks."""
    if not is_distributed():
        return rows
    import torch

    own = rows.to(_device()).contiguous()
    everybody = [torch.empty_like(own) for _ in range(world_size())]
    _group().all_gather(everybody, own)
    return torch.cat(everybody).to(rows.device)


def local_slice(count: int) -> slice:
    """Which of W * `count` rows are this process's."""
    return slice(rank() * count, (rank() + 1) * count)


def set_epoch(loader: "DataLoader[object]", epoch: int) -> None:
    """The number of the epoch, to whatever lies below a loader that skips batches or deals them out to processes."""
    place: object = loader
    while place is not None:
        sampler = getattr(place, "sampler", None)
        for one in (place, sampler):
            if one is not loader and hasattr(one, "set_epoch"):
                one.set_epoch(epoch)
        place = getattr(place, "batch_sampler", None)


# -------------------------------------------------------------------------------------------------------------- weights


def average_gradients(parameters: "Sequence[nn.Parameter]") -> None:
    """Each gradient becomes its mean over the processes.

    A parameter that some process had no use for counts as 0 there; one that nobody used stays without a gradient.
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
    """All processes begin with the first one's weights."""
    if is_distributed():
        for parameter in parameters:
            _group().broadcast(parameter.data, src=0)


def _buckets(parameters: "Sequence[nn.Parameter]") -> "Iterator[list[nn.Parameter]]":
    """The parameters in order, cut where a cut has BUCKET_NUMEL numbers."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET_NUMEL:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


# ------------------------------------------------------------------------------------------------------------- plumbing


def _told_by_all(value: Value) -> list[Value]:
    """What each process has, in the order of their ranks."""
    if not is_distributed():
        return [value]
    told = [value] * world_size()
    _group().all_gather_object(told, value)
    return told


def _group() -> Any:
    import torch.distributed as dist

    return dist


def _device() -> "torch.device":
    """Where tensors lie that are exchanged."""
    import torch

    return torch.device("cuda" if "nccl" in str(_group().get_backend()) else "cpu")
