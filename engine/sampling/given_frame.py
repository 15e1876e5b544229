"""A given first picture as a clip's first latent frame.

It is for networks that take a noise level for each latent frame. The frame enters the network clean, at level 0, and
the prediction for it leads to the picture, so that a clip that is denoised by the ODE ends at it. Source: the
image-to-video pipelines of diffusers for Wan 2.2 TI2V and LTX-Video.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.family_interface import Conditioning

if TYPE_CHECKING:
    from torch import Tensor

    Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]

SMALLEST_LEVEL = 1e-6


def predict_with_first(predict: "Predict", latents: "Tensor", sigma: "Tensor", conditioning: Conditioning) -> "Tensor":
    """Return the velocity `[B,C,t,h,w]` of `predict`.

    The first latent frame is that of the conditioning, if any. `sigma` is `[B]` or `[B,t]`. The given frame depends on
    no weight, and no gradient flows through it.
    """
    first = conditioning.first_frame
    if first is None:
        return predict(latents, sigma, conditioning)
    levels = (sigma[:, None] if sigma.ndim == 1 else sigma).repeat(1, latents.shape[2] if sigma.ndim == 1 else 1)
    towards = (latents[:, :, 0] - first) / levels[:, :1, None, None].clamp(min=SMALLEST_LEVEL)
    inputs, levels[:, 0] = latents.clone(), 0
    inputs[:, :, 0] = first.to(latents)
    velocity = predict(inputs, levels, conditioning).clone()
    velocity[:, :, 0] = towards
    return velocity
