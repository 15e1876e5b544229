"""Networks in GGUF files, decoded to full precision by the optional library gguf.

Decoded weights are those of any other model: adapters are trained on them, and `weights` of a preset stores them in 8
bits again. A file saves disk and download, not memory.
"""

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GGUF = ".gguf"
LIBRARY = "gguf"
PLAIN = ("F32", "F16", "BF16")
SHAPE_KEY = "comfy.gguf.orig_shape."  # of a tensor whose shape the file changed, as ComfyUI-GGUF's converter writes it


def read_gguf(file: Path, dtype: "torch.dtype") -> "dict[str, Tensor]":
    """Return the tensors of a GGUF file by name; quantised ones are decoded to `dtype`, others to float32.

    Raises FamilyError for a damaged file, an unknown quantisation, or without the library.
    """
    import torch

    reader, tensors = _open(file), {}
    from gguf import dequantize  # checked by _open

    for stored in reader.tensors:
        try:
            numbers = dequantize(stored.data, stored.tensor_type).reshape(_shape(reader, stored))
        except (NotImplementedError, ValueError) as error:
            raise FamilyError(
                f"'{file}': tensor '{stored.name}' cannot be decoded ({error}): name another file."
            ) from error
        tensor = torch.from_numpy(numbers.copy())
        tensors[stored.name] = tensor if stored.tensor_type.name in PLAIN else tensor.to(dtype)
    return tensors


def count_gguf(file: Path) -> int:
    """Return the number of weights of a GGUF file. Raises FamilyError as `read_gguf` does."""
    reader = _open(file)
    return sum(math.prod(_shape(reader, stored)) for stored in reader.tensors)


def _open(file: Path) -> Any:
    if importlib.util.find_spec(LIBRARY) is None:
        raise FamilyError(
            f"'{file}' needs {LIBRARY}, which is not installed: `pip install -e '.[gguf]'` in the clone of Dailies, "
            "or name a .safetensors file."
        )
    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise FamilyError(f"'{file}' cannot be read as GGUF ({error}): download it again.") from error


def _shape(reader: Any, stored: Any) -> tuple[int, ...]:
    field = reader.get_field(SHAPE_KEY + stored.name)
    if field is None:
        return tuple(int(size) for size in reversed(stored.shape))  # a file has the last dimension first
    return tuple(int(field.parts[place][0]) for place in field.data)
