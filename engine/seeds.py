"""Counter-based seeds, determined by a draw's purpose and independent of order and batch size."""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def seed_for(run_seed: int, *, step: int = 0, prompt: int | str = 0, sample: int = 0) -> int:
    """Return a 63-bit seed for one sample of one prompt at one step of a run.

    The same four arguments always give the same seed.
    """
    prompt_key = zlib.crc32(prompt.encode()) if isinstance(prompt, str) else prompt
    words = np.random.SeedSequence([run_seed, step, prompt_key, sample]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) | (int(words[1]) >> 1)


def generator_for(seed: int) -> "torch.Generator":
    """Return a CPU generator for one clip: its noise is the same on every device and in every batch."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def unit_noise(shape: Sequence[int], generators: "Sequence[torch.Generator]") -> "torch.Tensor":
    """Return unit-normal float32 noise `[len(generators), *shape]` on the CPU, a generator per row."""
    import torch

    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators])
