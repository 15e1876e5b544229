"""Checks of a model's folder before its weights are read: one sentence for each unsupported format."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import FamilyError
from engine.hub.selection import weight_sets

if TYPE_CHECKING:
    from torch import nn

CONVERT = (
    "Dailies reads diffusers folders (model_index.json and a folder for each part): name one, or add a file with the "
    "network alone by `dailies models add KEY --file FILE --like MODEL`."
)


def refuse_file(source: str) -> None:
    """Raise FamilyError when `source` is, or names, a single file."""
    if Path(source).is_file() or source.endswith((".safetensors", ".gguf", ".ckpt", ".pt")):
        raise FamilyError(f"'{source}' is a single file. {CONVERT}")


def refuse_loose_files(folder: Path) -> None:
    """Raise FamilyError when the folder contains weights but is no diffusers model."""
    loose = sorted(path.name for pattern in ("*.safetensors", "*.gguf", "*.ckpt") for path in folder.glob(pattern))
    if loose and not (folder / "model_index.json").is_file():
        raise FamilyError(f"'{folder}' has no model_index.json, but '{loose[0]}', a model in a single file. {CONVERT}")


def variant_of(folder: Path) -> str | None:
    """Return the variant, such as "fp16", of a part that has no plain weights.

    None when it has plain weights.
    """
    sets = weight_sets([path.name for path in folder.iterdir()] if folder.is_dir() else [])
    if not all(one.variant for one in sets):
        return None
    return min((one.variant for one in sets if one.format == "safetensors"), default=None)


def refuse_quantised(folder: Path) -> None:
    """Raise FamilyError when the part's configuration has quantised weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # reading the weights reports the problem
    settings = config.get("quantization_config") if isinstance(config, dict) else None
    if settings:
        method = settings.get("quant_method", "some method") if isinstance(settings, dict) else "some method"
        raise FamilyError(
            f"The weights in '{folder}' are quantised ({method}), which Dailies neither trains nor runs: name a folder "
            "with the model's own weights."
        )


def refuse_dropped_layers(where: str, unexpected: Iterable[str], expected: Iterable[str]) -> None:
    """Raise FamilyError when weights contain more layers of a kind than the configuration of the network."""
    kinds = {_kind(name) for name in expected}
    dropped = sorted(name for name in unexpected if _kind(name) in kinds)
    if dropped:
        raise FamilyError(
            f"The weights in '{where}' have {len(dropped)} tensors without a layer in its config.json, first "
            f"'{dropped[0]}': the configuration belongs to another model, so download both again."
        )


def refuse_nan(network: "nn.Module", where: str) -> None:
    """Raises FamilyError with the name of the first tensor that holds a NaN or an infinity."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FamilyError(f"The weights in '{where}' are damaged: tensor '{name}' holds NaN or infinity.")


def _kind(name: str) -> str:
    """Return a tensor's name without layer numbers."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", f".{name}")
