"""Gradient checkpointing: a block stores only its inputs, and is recomputed in the backward pass.

diffusers' own implementation omits blocks: in AnimateDiff's network it recomputes the ResNets but not the attention
between them (292 GiB instead of 76 for 6 clips of 64 frames at 512x512 px). Here the family names the blocks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


class _CheckpointedForward:
    """Replacement of a block's `forward`; hooks, such as those that gather shards, still run outside it."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **named)
        return checkpoint(self.forward, *args, use_reentrant=False, **named)


def set_block_checkpointing(network: Any, classes: Sequence[str], *, on: bool) -> None:
    """Enable or disable recomputation of all modules of the given classes.

    diffusers' own checkpointing is disabled, since blocks would otherwise run three times. It is only used for a
    network without any module of these classes.
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
