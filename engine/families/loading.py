"""What every family's `load` shares: find the folder, check what is in it, read its parts, refuse damaged weights."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError

if TYPE_CHECKING:
    import torch
    from torch import nn

ALLOW_DOWNLOAD = "DAILIES_ALLOW_DOWNLOAD"


def find_folder(source: str, parts: Iterable[str]) -> Path:
    """The diffusers folder of `source`: a folder on disk, or a hub id that the hub's cache holds.

    A missing hub model is downloaded only with DAILIES_ALLOW_DOWNLOAD=1, and then only its `parts`. Raises FamilyError.
    """
    if Path(source).is_dir():
        return Path(source)
    if source.startswith(("/", ".", "~")) or source.count("/") != 1:
        raise FamilyError(
            f"There is no model folder '{source}': correct `source` in the preset, or put the model there."
        )
    return _from_hub(source, ["model_index.json", *(f"{part}/*" for part in parts)])


def _from_hub(source: str, patterns: list[str]) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    allowed = os.environ.get(ALLOW_DOWNLOAD) == "1"
    try:
        folder = snapshot_download(source, allow_patterns=patterns, local_files_only=not allowed, etag_timeout=2)
    except HFValidationError as error:
        raise FamilyError(f"'{source}' is neither a folder nor a hub id such as 'owner/name'.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        if allowed:
            why = str(error).strip().splitlines()[0]
            raise FamilyError(f"'{source}' cannot be downloaded: {why} Check the name and the network.") from error
        raise FamilyError(
            f"'{source}' is neither a folder here nor in the hub's cache, and downloads are off: name a folder that "
            f"holds it in the preset, or set {ALLOW_DOWNLOAD}=1."
        ) from error
    return Path(folder)


def check_parts(folder: Path, parts: Mapping[str, str]) -> None:
    """Refuse a folder of another family: `parts` maps each subfolder to the class that must be in it."""
    index = read_json(folder / "model_index.json")
    for part, expected in parts.items():
        entry = index.get(part)
        found = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if found is None:
            raise FamilyError(f"'{folder}' has no {part}: it is no whole model, download it again.")
        if found != expected:
            pipeline = index.get("_class_name", "another family")
            raise FamilyError(
                f"'{folder}' belongs to another family ({pipeline}): its {part} is {found}, but this family needs "
                f"{expected}. Correct `family` in the preset."
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder. Raises FamilyError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FamilyError(f"'{path}' is missing or damaged ({error}): the folder is no diffusers model.") from error
    if not isinstance(table, dict):
        raise FamilyError(f"'{path}' holds no JSON object: the folder is no diffusers model.")
    return table


def read_network(model_class: Any, folder: Path, part: str, device: str, dtype: "torch.dtype") -> Any:
    """A diffusers or transformers network of the folder, in eval mode, frozen, on `device`.

    Raises FamilyError when the file is damaged, lacks tensors, or holds a NaN (which tensor).
    """
    from safetensors import SafetensorError

    where = f"{folder}/{part}"
    try:
        network, info = model_class.from_pretrained(where, dtype=dtype, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = " ".join(str(error).split())[:200]
        raise FamilyError(
            f"The weights in '{where}' cannot be read ({why}): download or train the model again."
        ) from error
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise FamilyError(f"The weights in '{where}' lack {len(missing)} tensors, the first is '{missing[0]}'.")
    refuse_nan(network, where)
    network.requires_grad_(False)
    return move(network.eval(), device, where)


def move(network: Any, device: str, where: str) -> Any:
    """The network on `device`. Raises FamilyError with the room that it needs when the device has not got it."""
    import torch

    try:
        return network.to(device)
    except torch.OutOfMemoryError as error:
        gib = sum(tensor.nbytes for tensor in network.state_dict().values()) / 2**30
        raise FamilyError(
            f"'{where}' needs {gib:.1f} GiB on {device}, more than is free there: free the device, or choose a smaller "
            "model."
        ) from error


def refuse_nan(network: "nn.Module", where: str) -> None:
    """Raises FamilyError with the name of the first tensor that holds a NaN or an infinity."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FamilyError(f"The weights in '{where}' are damaged: tensor '{name}' holds NaN or infinity.")
