"""Storage of a network's frozen weights in less device memory: in float8, or on the CPU between uses.

Both use diffusers' hooks. Linear layers inside blocks are stored in float8 (e4m3: 4 bits of precision) and cast to the
compute type for each use; norms and modulations stay as they are. Offloaded blocks are loaded one ahead on a stream of
their own, if the device has streams. Imports no torch at its top level.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def float8_layers(network: "nn.Module", block_classes: Sequence[str]) -> "Iterator[nn.Module]":
    """Yield the layers of blocks that `store_in_float8` casts: linear ones, without those of norms.

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


def store_in_float8(network: "nn.Module", block_classes: Sequence[str], compute: "torch.dtype") -> None:
    """Store the weights of the network's blocks in float8; their products are computed in `compute`."""
    import torch
    from diffusers.hooks.layerwise_casting import apply_layerwise_casting_hook

    for layer in float8_layers(network, block_classes):
        apply_layerwise_casting_hook(layer, torch.float8_e4m3fn, compute, non_blocking=False)


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
