"""Every family at toy size: what is written to disk, diffusers' own pipeline over the same weights, how it is called.

A further family is one more entry of `MODELS`, in a file of its own.
"""

from . import animatediff, cogvideox, hunyuanvideo, ltx, ltx2, wan
from .base import Kit, TinyModel

__all__ = ["MODELS", "OTHERS", "Kit", "TinyModel"]

MODELS: dict[str, TinyModel] = (
    ltx.MODELS | ltx2.MODELS | wan.MODELS | cogvideox.MODELS | hunyuanvideo.MODELS | animatediff.MODELS
)
OTHERS: dict[str, TinyModel] = ltx2.OTHERS  # for tests of their own, not for what holds for every family
