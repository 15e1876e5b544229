"""A network that was trained as a whole: what it computes in, and how it is written for use as part of a model.

The weights that train are float32 (their updates are often smaller than a half-precision weight's last digit); a model
given in half precision computes in bfloat16 under autocast, as with accelerate's mixed precision. That holds for
float16 models too: bfloat16 has float32's range of exponents, so small gradients do not vanish and no loss scaling is
needed. It costs 16 bytes a parameter (weight, gradient, Adam's two moments) and 4 for each copy that the run keeps.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from engine.families.lora_files import EXPERTS

HALVES = (torch.float16, torch.bfloat16)


class _AutocastForward:
    """In the place of a network's `forward`. Casts are not cached: each weight is used once, and a block that is
    recomputed would keep its casts in memory.
    """

    def __init__(self, forward: Callable[..., Any], network: nn.Module, dtype: torch.dtype) -> None:
        self.forward, self._network, self._dtype = forward, network, dtype

    def __call__(self, *args: Any, **named: Any) -> Any:
        device = next(self._network.parameters()).device.type
        with torch.autocast(device, self._dtype, cache_enabled=False):
            return self.forward(*args, **named)


def compute_dtype(weights: torch.dtype) -> torch.dtype | None:
    """What the float32 weights of a model given in `weights` compute in; None: in float32."""
    return torch.bfloat16 if weights in HALVES else None


def set_compute_dtype(network: Any, dtype: torch.dtype | None) -> None:
    """From now on the network's matrix products are in `dtype`, whatever its weights are; None: as its weights."""
    if isinstance(network.forward, _AutocastForward):
        network.forward = network.forward.forward
    if dtype is not None:
        network.forward = _AutocastForward(network.forward, network, dtype)


def write_network(network: Any, folder: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write a diffusers network, whose `weights` may lie in shards elsewhere, as a folder that `from_pretrained` reads.

    `dtype` is what the model runs in. A pair of experts becomes two folders, named as a pipeline names them.
    """
    experts: Mapping[str, str] = EXPERTS if getattr(network, "experts", None) else {}
    for expert, part in experts.items():
        own = {key.removeprefix(f"{expert}."): value for key, value in weights.items() if key.startswith(f"{expert}.")}
        _write(getattr(network, expert), folder / part, own, dtype)
    if not experts:
        _write(network, folder, weights, dtype)


def _write(network: Any, folder: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    found = type(network)
    plain: Any = found.__bases__[-1] if isinstance(network, FSDPModule) else found  # `fully_shard` puts its own before
    with torch.device("meta"):
        twin = plain.from_config(network.config)
    whole = {**dict(network.named_buffers()), **weights}
    twin.load_state_dict(
        {key: value.detach().to("cpu", dtype) for key, value in whole.items()}, assign=True, strict=False
    )
    twin.save_pretrained(folder)
