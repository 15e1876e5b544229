"""The dtype that a network trains in, and writing a whole network for use in a model.

Trained weights are float32 (updates are often below a half-precision weight's resolution). Half-precision models,
float16 ones included, compute in bfloat16: it has float32's exponent range, so small gradients do not vanish and no
loss scaling is needed. In float16 they would: a loss is a mean over about 1e6 elements, and the smallest number is
6e-8. For an adapter the model is opened in bfloat16. A whole network computes in bfloat16 under autocast, as with
accelerate's mixed precision, and takes 16 bytes a parameter (weight, gradient, Adam's two moments) plus 4 for each copy
that the run keeps.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.families.lora_files import EXPERTS
from engine.families.registry import open_model
from engine.family_interface import ModelFamily

HALVES = (torch.float16, torch.bfloat16)


def open_to_train(model: ModelFamily | str, lora_rank: int) -> ModelFamily:
    """Open a model preset in the dtype that it trains in; return a loaded model as it is.

    Raises ConfigError for a loaded float16 model that is to get an adapter.
    """
    if isinstance(model, str):
        preset = load_preset("models", model)
        vanishes = bool(lora_rank) and preset.dtype == "float16"
        return open_model(preset.model_copy(update={"dtype": "bfloat16"}) if vanishes else preset)
    if lora_rank and model.dtype == torch.float16:
        raise ConfigError("The gradients of an adapter would vanish in float16: load the model in bfloat16.")
    return model


class _AutocastForward:
    """Replacement of a network's `forward` that runs it under autocast.

    Casts are not cached: each weight is used once, and a recomputed block would keep its casts in memory.
    """

    def __init__(self, forward: Callable[..., Any], network: nn.Module, dtype: torch.dtype) -> None:
        self.forward, self._network, self._dtype = forward, network, dtype

    def __call__(self, *args: Any, **named: Any) -> Any:
        device = next(self._network.parameters()).device.type
        with torch.autocast(device, self._dtype, cache_enabled=False):
            return self.forward(*args, **named)


def compute_dtype(weights: torch.dtype) -> torch.dtype | None:
    """Return the compute dtype for a model stored in dtype `weights`; None: float32."""
    return torch.bfloat16 if weights in HALVES else None


def set_compute_dtype(network: Any, dtype: torch.dtype | None) -> None:
    """Compute the network's matrix products in `dtype`; None: in the dtype of its weights."""
    if isinstance(network.forward, _AutocastForward):
        network.forward = network.forward.forward
    if dtype is not None:
        network.forward = _AutocastForward(network.forward, network, dtype)


def write_network(network: Any, folder: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write a diffusers network as a folder for `from_pretrained`, in the model's `dtype`.

    `weights` are the whole tensors, since the network's own may be sharded. Two experts become two folders, named as in
    a pipeline.
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
