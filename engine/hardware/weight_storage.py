"""Storage of a network's frozen weights in less device memory: in 8 bits, or on the CPU between uses.

Linear layers inside blocks are stored in 8 bits; norms and modulations stay as they are. float8 (e4m3: 4 bits of
precision) is cast to the compute type for each use, by diffusers' hooks. int8 has a scale for each output of a layer,
and is multiplied by torchao, which is an optional dependency. Offloaded blocks are loaded one ahead on a stream of
their own, if the device has streams. Imports no torch at its top level.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import FamilyError

if TYPE_CHECKING:
    import torch
    from torch import nn

WeightStorage = Literal["full", "float8", "int8"]
INT8_LIBRARY = "torchao"


def check_library(weights: WeightStorage) -> None:
    """Raise FamilyError when a library for this storage is not installed."""
    if weights == "int8" and importlib.util.find_spec(INT8_LIBRARY) is None:
        raise FamilyError(
            f"weights = 'int8' needs {INT8_LIBRARY}, which is not installed: `pip install -e '.[quantization]'` in "
            "the clone of Dailies, or set weights = 'float8' in the model's preset."
        )


def eight_bit_layers(network: "nn.Module", block_classes: Sequence[str]) -> "Iterator[nn.Module]":
    """Yield the layers of blocks that are stored in 8 bits: linear ones, without those of norms.

    Convolutions cannot be recomputed with weights that change their type.
    """
    from torch import nn

    seen: set[int] = set()
    for block in network.modules():
        if type(block).__name__ not in block_classes:
            continue
        for name, layer in block.named_modules():
            if isinstance(layer, nn.Linear) and "norm" not in name and id(layer) not in seen:
                seen.add(id(layer))
                yield layer


def store_weights(
    network: "nn.Module", block_classes: Sequence[str], weights: WeightStorage, compute: "torch.dtype"
) -> None:
    """Store the weights of the network's blocks; their products are computed in `compute`.

    Raises FamilyError without the library of int8.
    """
    check_library(weights)
    if weights == "float8":
        _store_in_float8(network, block_classes, compute)
    elif weights == "int8":
        _store_in_int8(network, block_classes)


def _store_in_float8(network: "nn.Module", block_classes: Sequence[str], compute: "torch.dtype") -> None:
    import torch
    from diffusers.hooks.layerwise_casting import apply_layerwise_casting_hook

    for layer in eight_bit_layers(network, block_classes):
        apply_layerwise_casting_hook(layer, torch.float8_e4m3fn, compute, non_blocking=False)


def _store_in_int8(network: "nn.Module", block_classes: Sequence[str]) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    chosen = {id(layer) for layer in eight_bit_layers(network, block_classes)}
    quantize_(network, Int8WeightOnlyConfig(), filter_fn=lambda layer, name: id(layer) in chosen)


def restore_adapter(network: Any, name: str, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Set an adapter's weights on layers in float8 again, in the compute type.

    Needed because peft casts them like the layer's own. `tensors` have the names of a file, such as
    "blocks.0.attn1.to_q.lora_A.weight".
    """
    import torch

    for key, tensor in tensors.items():
        parameter = network.get_parameter(f"{key.removesuffix('.weight')}.{name}.weight")
        if parameter.dtype is torch.float8_e4m3fn:
            parameter.data = tensor.to(parameter.device, network.dtype)


def offload_blocks(network: Any, device: str) -> None:
    """Keep the network's blocks on the CPU, and load each one to `device` for its use."""
    import torch

    network.enable_group_offload(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=torch.device(device).type in ("cuda", "xpu"),
    )


def refresh_offloading(network: Any) -> None:
    """Offload the layers of blocks that are there now, after layers were added or removed.

    Each expert of a network is offloaded on its own. A network that is not offloaded stays as it is.
    """
    from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading

    names = getattr(network, "experts", {})
    for owner in [getattr(network, name) for name in names] or [network]:
        _maybe_remove_and_reapply_group_offloading(owner)
