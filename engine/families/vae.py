"""Pixels to and from a VAE, and the rejection of clips and latents with overflowed values.

In float16, numbers above 65,504 become infinite and later NaN, which would be stored as black. A clip is rejected when
its latents or its decoded values are not finite. It is also rejected when each colour channel is constant over all
pixels and frames, before rounding to 8 bits: a decoder's padding alone makes the borders differ from the middle, even
in a black scene and with random weights, so constant values carry no information from the latents. Imports no torch at
its top level.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError

if TYPE_CHECKING:
    import numpy as np
    import torch
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


def to_pixels(video: "Tensor", latents: "Tensor") -> "np.ndarray":
    """Convert a VAE's output `[B,3,T,H,W]` in -1..1, decoded from `latents`, to `uint8[B,T,H,W,3]`.

    Raises FamilyError after an overflow, see `refuse_overflow`.
    """
    import torch

    refuse_overflow(video, latents)
    pixels = ((video.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).cpu().numpy()


def from_pixels(frames: "np.ndarray", device: str, dtype: "torch.dtype") -> "Tensor":
    """Convert `uint8[B,T,H,W,3]` to a VAE's input `[B,3,T,H,W]` in -1..1."""
    import torch

    return torch.from_numpy(frames).to(device).permute(0, 4, 1, 2, 3).to(dtype) / 127.5 - 1


def split_batch(batch: "Tensor", *, small: bool) -> "Iterator[tuple[Tensor, int]]":
    """Split a batch `[B,...]` into single rows, so that memory stays that of one row.

    Small rows into pairs.

    On a CPU, torch convolves a single small input by unfolding it (`aten::slow_conv3d`), with twice the time and three
    times the memory of a batch of two. A single small row is therefore duplicated. Yields each part with the number of
    rows of its output to keep.
    """
    for rows in batch.split(2 if small else 1):
        yield (rows.repeat(2, *[1] * (rows.ndim - 1)), 1) if small and len(rows) == 1 else (rows, len(rows))


def decode_rows(vae: Any, latents: "Tensor") -> "Tensor":
    """Decode unscaled latents to `float[B,3,T,H,W]` one clip after another, to save memory."""
    import torch

    return torch.cat([vae.decode(row, return_dict=False)[0] for row in latents.to(vae.dtype).split(1)])


def encode_rows(vae: Any, pixels: "Tensor") -> "Tensor":
    """Encode `pixels[B,3,T,H,W]` in -1..1 to unscaled latents `float32[B,C,t,h,w]`: the posterior's mode."""
    import torch

    with torch.no_grad():
        return finite_latents(torch.cat([vae.encode(row).latent_dist.mode() for row in pixels.split(1)])).float()


def latent_scale(vae: Any, device: str) -> "tuple[Tensor, Tensor]":
    """Return the mean and the std of a VAE's latents, each `[1,C,1,1,1]`, by its configuration."""
    import torch

    mean, std = (torch.tensor(values, device=device) for values in (vae.config.latents_mean, vae.config.latents_std))
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


class NormalisedLatents:
    """Methods of a family whose VAE is configured with the mean and the std of its latents."""

    vae: Any
    device: str

    def unscale(self, latents: "Tensor") -> "Tensor":
        """Return the VAE's own latents of the network's latents."""
        mean, std = latent_scale(self.vae, self.device)
        return latents * std + mean

    def scale(self, latents: "Tensor") -> "Tensor":
        """Return the network's latents of the VAE's own latents."""
        mean, std = latent_scale(self.vae, self.device)
        return (latents - mean) / std
