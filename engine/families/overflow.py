"""Rejection of clips and latents with overflowed values, wherever a VAE decodes or encodes.

In float16, numbers above 65,504 become infinite and later NaN, which would be stored as black. A clip is rejected when
its latents or its decoded values are not finite. It is also rejected when each colour channel is constant over all
pixels and frames, before rounding to 8 bits: a decoder's padding alone makes the borders differ from the middle, even
in a black scene and with random weights, so constant values carry no information from the latents. Imports no torch at
its top level.
"""

from typing import TYPE_CHECKING

from engine.errors import FamilyError

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = 'Set dtype = "bfloat16", or "float32", in the model\'s preset.'


def refuse_overflow(video: "Tensor", latents: "Tensor") -> None:
    """Raise FamilyError when `video[B,3,T,H,W]`, decoded from `latents`, shows an overflow."""
    if not latents.isfinite().all():
        raise FamilyError(
            "The latents of a clip contain NaN or infinity, so it is not kept: the network overflowed, or training "
            f"damaged the adapter. Try without the adapter, if there is one. {REMEDY}"
        )
    kind = str(video.dtype).removeprefix("torch.")
    if not video.isfinite().all():
        raise FamilyError(
            f"The decoded clip contains NaN or infinity, so it is not kept: the VAE overflowed in {kind}. {REMEDY}"
        )
    colours = video.flatten(2)
    if colours.shape[2] > 1 and (colours.amax(2) == colours.amin(2)).all(1).any():
        raise FamilyError(
            "The decoded clip has one colour over all pixels and frames, so it is not kept: its values overflowed "
            f"in {kind}, or the weights are damaged. {REMEDY}"
        )


def finite_latents(latents: "Tensor") -> "Tensor":
    """Return the latents of a VAE's encoder unchanged.

    Raises FamilyError when they contain NaN or infinity: training or a continued clip would use them.
    """
    if not latents.isfinite().all():
        kind = str(latents.dtype).removeprefix("torch.")
        raise FamilyError(
            f"The latents of the given pictures contain NaN or infinity, so they are not used: the VAE's encoder "
            f"overflowed in {kind}, or its weights are damaged. {REMEDY}"
        )
    return latents
