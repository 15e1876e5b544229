"""Gradient checkpointing: a block keeps its inputs alone, and runs again when the backward pass comes to it.

diffusers' own leaves blocks out: of AnimateDiff's network it recomputes the ResNets only, not the attention between
them (292 GiB instead of 76 for 6 clips of 64 frames at 512x512 px). So the blocks are those that the family names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


class _CheckpointedForward:
    """In the place of a block's `forward`: hooks, such as those that gather shards, stay outside and run as before."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **named)
        return checkpoint(self.forward, *args, use_reentrant=False, **named)


def set_block_checkpointing(network: Any, classes: Sequence[str], *, on: bool) -> None:
    """Each module of the named classes is recomputed from now on, or no longer.

    diffusers' own checkpointing is switched off, as blocks would run three times; it serves a network whose family
    names no class that it has.
    """
    blocks = [module for module in network.modules() if type(module).__name__ in classes]
    for block in blocks:
        if on and not isinstance(block.forward, _CheckpointedForward):
            block.forward = _CheckpointedForward(block.forward)
        elif not on and isinstance(block.forward, _CheckpointedForward):
            block.forward = block.forward.forward
    if on and not blocks:
        network.enable_gradient_checkpointing()
    elif getattr(network, "is_gradient_checkpointing", False):
        network.disable_gradient_checkpointing()
