"""Clips and latents that an overflow destroyed are refused, wherever a VAE decodes or encodes. Imports no torch at its
top level.

In float16 numbers above 65,504 become infinite, and what follows from them NaN, which would be stored as black. A clip
is refused when its latents or its decoded values are not finite. It is refused as well when every value of each colour
is the same over all pixels and frames, before rounding to 8 bits: a decoder's padding alone makes the borders differ
from the middle, in a black scene and with random weights too, so such values have lost all that came from the latents.
"""

from typing import TYPE_CHECKING

from engine.errors import FamilyError

if TYPE_CHECKING:
    from torch import Tensor

REMEDY = 'Set dtype = "bfloat16", or "float32", in the model\'s preset.'


def refuse_overflow(video: "Tensor", latents: "Tensor") -> None:
    """Raises FamilyError where `video[B,3,T,H,W]`, decoded from `latents`, cannot be a clip."""
    if not latents.isfinite().all():
        raise FamilyError(
            "The latents of a clip hold NaN or infinity, so it is not kept: the network's numbers overflowed, or the "
            f"adapter is damaged by its training. Try without the adapter, if there is one. {REMEDY}"
        )
    kind = str(video.dtype).removeprefix("torch.")
    if not video.isfinite().all():
        raise FamilyError(
            f"The decoded clip holds NaN or infinity, so it is not kept: the VAE overflowed in {kind}. {REMEDY}"
        )
    colours = video.flatten(2)
    if colours.shape[2] > 1 and (colours.amax(2) == colours.amin(2)).all(1).any():
        raise FamilyError(
            "The decoded clip has one colour over all pixels and frames, so it is not kept: its numbers were lost "
            f"in {kind}, or its weights are damaged. {REMEDY}"
        )


def finite_latents(latents: "Tensor") -> "Tensor":
    """Latents that a VAE's encoder made of pictures, as they are. Raises FamilyError where they hold NaN or infinity:
    a run would train on them, and a clip would be continued from them."""
    if not latents.isfinite().all():
        kind = str(latents.dtype).removeprefix("torch.")
        raise FamilyError(
            f"The latents of the given pictures hold NaN or infinity, so they are not used: the VAE's encoder "
            f"overflowed in {kind}, or its weights are damaged. {REMEDY}"
        )
    return latents
