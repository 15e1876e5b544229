"""Several adapters as one, and models with an adapter merged into their weights."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import FamilyError, StoreError
from engine.families.lora_files import SIDES, Lora

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = ".safetensors"
OTHER_WEIGHTS = (".bin", ".msgpack", ".h5")  # copies of the same weights, which would not have the adapter


def combine(adapters: Iterable[tuple[Mapping[str, Lora], float]]) -> dict[str, Lora]:
    """Return one adapter that has the effect of several, each multiplied by its scale.

    The matrices of a layer are stacked, s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2], so its rank is the sum of their
    ranks, and its alpha as well: every factor is in lora_B. Adapters may have different layers and ranks.
    """
    combined: dict[str, Lora] = {}
    for parts, scale in adapters:
        for part, lora in parts.items():
            one = _scaled(lora, scale)
            combined[part] = _stacked(combined[part], one) if part in combined else one
    return combined


def _scaled(lora: Lora, scale: float) -> Lora:
    """Return the LoRA with its factors and `scale` in lora_B, in float32."""
    down, up = SIDES
    tensors = {}
    for layer, rank in lora.ranks.items():
        tensors[layer + down] = lora.tensors[layer + down].float()
        tensors[layer + up] = lora.tensors[layer + up].float() * (scale * lora.alphas[layer] / rank)
    return Lora(tensors=tensors, alphas={layer: float(rank) for layer, rank in lora.ranks.items()})


def _stacked(first: Lora, second: Lora) -> Lora:
    import torch

    tensors = {**first.tensors, **second.tensors}
    for layer in first.ranks.keys() & second.ranks.keys():
        for side, dim in zip(SIDES, (0, 1), strict=True):
            tensors[layer + side] = torch.cat([first.tensors[layer + side], second.tensors[layer + side]], dim)
    stacked = Lora(tensors=tensors, alphas={})
    return Lora(tensors=tensors, alphas={layer: float(rank) for layer, rank in stacked.ranks.items()})


def write_fused(model: Path, folder: Path, adapter: Mapping[str, Lora]) -> None:
    """Write a copy of the diffusers folder `model` whose networks have the adapter in their weights.

    Each weight becomes W + alpha / r * B A, computed in float32 and stored in its own type. One file of weights at a
    time is in memory. Raises StoreError when the disk has no room, and FamilyError when weights lack a layer.
    """
    files = [path for path in sorted(model.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(model))]
    _check_room(folder, sum(path.stat().st_size for path in files))
    missing = {part: set(lora.ranks) for part, lora in adapter.items()}
    for path in files:
        name = path.relative_to(model)
        part = name.parts[0]
        if part in adapter and path.suffix in OTHER_WEIGHTS:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if part in adapter and path.suffix == WEIGHTS:
            missing[part] -= _merge_file(path, folder / name, adapter[part])
        else:
            shutil.copyfile(path, folder / name)
    for part, layers in missing.items():
        if layers:
            raise FamilyError(
                f"'{model / part}' has no weights in {WEIGHTS} files for '{min(layers)}': save the model with them."
            )


def _merge_file(source: Path, target: Path, lora: Lora) -> set[str]:
    """Write a file of weights with the LoRA of its layers merged; return these layers."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors, merged = {}, set()
    with safe_open(source, framework="pt") as opened:
        for key in opened.keys():
            layer, weight = key.removesuffix(".weight"), opened.get_tensor(key)
            if key.endswith(".weight") and layer in lora.ranks:
                weight = (weight.float() + _difference(lora, layer).reshape(weight.shape)).to(weight.dtype)
                merged.add(layer)
            tensors[key] = weight
        save_file(tensors, target, metadata=opened.metadata() or {"format": "pt"})
    return merged


def _difference(lora: Lora, layer: str) -> "Tensor":
    """Return alpha / r * B A `[out,in*...]`; a convolution's lora_A has the kernel, its lora_B is 1x1."""
    down, up = (lora.tensors[layer + side].float().flatten(1) for side in SIDES)
    return up @ down * (lora.alphas[layer] / lora.ranks[layer])


def _check_room(folder: Path, needed_b: int) -> None:
    present = next(path for path in folder.absolute().parents if path.is_dir())
    free_b = shutil.disk_usage(present).free
    if needed_b > free_b:
        raise StoreError(
            f"The model needs {needed_b / 1e9:.1f} GB, but the disk of {present} has {free_b / 1e9:.1f} GB free: free "
            "space, or choose a folder on another disk."
        )


def _is_hidden(name: Path) -> bool:
    """Return True for files that are not the model's, such as `.cache` of the hub's client."""
    return any(part.startswith(".") for part in name.parts)
