"""Every family at toy size: what is written to disk, diffusers' own pipeline over the same weights, how it is called.

A further family is one more entry of `MODELS`, in a file of its own.
"""

from . import animatediff, cogvideox, hunyuanvideo, wan
from .base import Kit, TinyModel

__all__ = ["MODELS", "Kit", "TinyModel"]

MODELS: dict[str, TinyModel] = wan.MODELS | cogvideox.MODELS | hunyuanvideo.MODELS | animatediff.MODELS
