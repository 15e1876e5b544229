"""The two experts of a model, one for high and one for low noise levels, as one network."""

from functools import cache
from typing import TYPE_CHECKING, Any

from engine.families.lora_files import EXPERTS

if TYPE_CHECKING:
    from torch import Tensor


@cache
def two_experts() -> Any:
    """Return the class of two experts as one network.

    It is defined here because torch is not imported before a model is opened.
    """
    import torch
    from diffusers import ModelMixin
    from diffusers.loaders import PeftAdapterMixin

    class TwoExperts(ModelMixin, PeftAdapterMixin):
        """Routes each clip to the expert of its noise level; LoRA, device and dtype apply to both."""

        _supports_gradient_checkpointing = True
        experts_by_noise_level = True
        experts = EXPERTS

        def __init__(self, high_noise: Any, low_noise: Any, boundary: float) -> None:
            super().__init__()
            self.high_noise, self.low_noise, self.boundary = high_noise, low_noise, boundary

        @property
        def config(self) -> Any:
            return self.high_noise.config

        def forward(self, hidden_states: "Tensor", timestep: "Tensor", **others: Any) -> "tuple[Tensor]":
            high = timestep.flatten(1).amax(dim=1) if timestep.ndim == 2 else timestep
            is_high = high >= self.boundary
            if is_high.all() or not is_high.any():
                expert = self.high_noise if is_high.all() else self.low_noise
                return (expert(hidden_states=hidden_states, timestep=timestep, **others)[0],)
            outputs: list[Any] = [None] * len(high)
            for expert, is_selected in ((self.high_noise, is_high), (self.low_noise, ~is_high)):
                rows = is_selected.nonzero().flatten()
                inputs = {name: _select_rows(value, rows, len(high)) for name, value in others.items()}
                output = expert(hidden_states=hidden_states[rows], timestep=timestep[rows], **inputs)[0]
                for row, clip_output in zip(rows.tolist(), output, strict=True):
                    outputs[row] = clip_output
            return (torch.stack(outputs),)

    return TwoExperts


def _select_rows(value: Any, rows: "Tensor", num_clips: int) -> Any:
    """Select the rows of some clips from a tensor with one or several rows per clip.

    Return other values unchanged.
    """
    if not hasattr(value, "shape"):
        return value
    return value.unflatten(0, (num_clips, -1))[rows].flatten(0, 1)
