"""Memory peaks of real network classes without a device or weights.

Live storages of fake tensors are added up."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


class LiveBytes(TorchDispatchMode):
    """`peak` of the bytes of all storages that live at once, while this mode is on."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: dict[int, Any] = {}

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
            self.now += size
            self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int) -> None:
        if self._known.pop(key, None) is not None:
            self.now -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_iter(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result


class Lora(nn.Module):
    """A linear layer with an adapter in float32; peft's own cannot be put onto fake weights."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.zeros(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        more = nn.functional.linear(nn.functional.linear(x.to(self.down.dtype), self.down), self.up)
        return self.base(x) + more.to(x.dtype)


def add_lora(network: nn.Module, rank: int) -> None:
    network.requires_grad_(False)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Linear) and name.endswith(TARGETS):
            above, _, own = name.rpartition(".")
            setattr(network.get_submodule(above), own, Lora(module, rank))


@contextmanager
def fake(dtype: torch.dtype) -> Iterator[Callable[[Any], Any]]:
    """Everything made inside is fake; `make(build)` builds a network whose weights are of `dtype`."""

    def make(build: Callable[[], nn.Module]) -> nn.Module:
        torch.set_default_dtype(dtype)
        try:
            return build()
        finally:
            torch.set_default_dtype(torch.float32)

    with FakeTensorMode(allow_non_fake_inputs=True):
        yield make


def peak_of(network: nn.Module, call: Callable[[], Tensor], *, dtype: torch.dtype, backward: bool) -> tuple[int, int]:
    """Bytes of the network at rest, and the peak of one call, with its backward pass if asked for."""
    live = LiveBytes()
    for parameter in network.parameters():
        live.count(parameter)
    at_rest = live.now
    mixed = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
    with live, torch.set_grad_enabled(backward), mixed:
        result = call()
        if backward:
            result.float().pow(2).mean().backward()
    del result
    gc.collect()
    return at_rest, live.peak
