"""Files of models: find and check the folder, read its parts, reject damaged weights."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError, HubError
from engine.families.files.model_folders import (
    refuse_dropped_layers,
    refuse_file,
    refuse_loose_files,
    refuse_nan,
    refuse_quantised,
    variant_of,
)
from engine.hub.download import download, plan_download
from engine.hub.permission import ALLOW_DOWNLOAD, is_automatic
from engine.hub.repository import HubSource
from engine.hub.selection import CONFIG, ROOT, Needs, missing_files

if TYPE_CHECKING:
    import torch


TEXT_FOLDERS = ("t[eo]*", "connectors")  # tokenizers, text encoders, LTX-2's connectors between these and the network
INDEX_FILE = "model_index.json"
NETWORK = Needs(parts=(ROOT,), files=(CONFIG,))
"""What a repository, or a folder, of one network must have."""
Classes = str | tuple[str, ...]


def find_folder(source: str, needs: Needs) -> Path:
    """Return the folder of `source`: a folder on disk, or a hub id in the hub's cache.

    A hub id may have a revision after an @ ("owner/name@a1b2c3d": a commit, a tag or a branch). What the cache lacks of
    a hub model is downloaded only with DAILIES_ALLOW_DOWNLOAD=1. Raises FamilyError.
    """
    source = os.path.expanduser(source)
    if Path(source).is_dir():
        if INDEX_FILE in needs.files:
            refuse_loose_files(Path(source))
        return Path(source)
    refuse_file(source)
    if source.startswith(("/", ".", "~")) or source.count("/") != 1:
        raise FamilyError(
            f"There is no model folder '{source}': correct `source` in the preset, or put the model there."
        )
    return _from_hub(source, needs)


def find_file(source: str) -> Path:
    """Return the path of one file: a path on disk, or `owner/name/file` on the hub. Raises FamilyError."""
    source = os.path.expanduser(source)
    if Path(source).is_file() or source.startswith(("/", ".")) or source.count("/") < 2:
        folder, name = Path(source).parent, Path(source).name
    else:
        owner, repository, name = source.split("/", 2)
        folder = find_folder(f"{owner}/{repository}", Needs(files=(name,)))
    if not (folder / name).is_file():
        raise FamilyError(f"There is no file '{source}': correct it in the preset, or put the file there.")
    return folder / name


def _from_hub(source: str, needs: Needs) -> Path:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    hub_source = HubSource.read(source)
    try:
        validate_repo_id(hub_source.repository)
    except HFValidationError as error:
        raise FamilyError(f"'{source}' is neither a folder nor a hub id such as 'owner/name'.") from error
    folder = hub_source.snapshot()
    if folder is not None and not missing_files(folder, needs):
        return folder
    if not is_automatic():
        raise FamilyError(
            f"'{source}' is neither a folder here nor in the hub's cache, and downloads are off: name a folder that "
            f"holds it in the preset, or set {ALLOW_DOWNLOAD}=1."
        )
    try:
        return download((plan_download(hub_source, needs),))[0]
    except HubError as error:
        raise FamilyError(f"'{source}' cannot be downloaded: {error}") from error


def check_parts(folder: Path, parts: Mapping[str, Classes]) -> None:
    """Raise FamilyError for a folder of another family.

    `parts` maps each subfolder to its allowed classes.
    """
    index = read_json(folder / "model_index.json")
    for part, expected in parts.items():
        entry = index.get(part)
        actual = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if actual is None:
            raise FamilyError(f"'{folder}' has no {part}: the model is incomplete, download it again.")
        if actual not in ((expected,) if isinstance(expected, str) else expected):
            pipeline = index.get("_class_name", "another family")
            needed = expected if isinstance(expected, str) else " or ".join(expected)
            raise FamilyError(
                f"'{folder}' belongs to another family ({pipeline}): its {part} is {actual}, but this family needs "
                f"{needed}. Correct `family` in the preset."
            )


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of a model folder. Raises FamilyError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FamilyError(f"'{path}' is missing or damaged ({error}): the folder is no diffusers model.") from error
    if not isinstance(table, dict):
        raise FamilyError(f"'{path}' holds no JSON object: the folder is no diffusers model.")
    return table


def read_network(model_class: Any, folder: Path, part: str, device: str, dtype: "torch.dtype") -> Any:
    """Return a diffusers or transformers network of the folder, in eval mode, frozen, on `device`.

    Raises FamilyError when the file is damaged, lacks tensors or contains a NaN (naming the tensor), or when memory is
    full.
    """
    from safetensors import SafetensorError

    where = f"{folder}/{part}"
    refuse_quantised(folder / part)
    options = {"dtype": dtype, "local_files_only": True, "variant": variant_of(folder / part)}
    try:
        network, info = model_class.from_pretrained(where, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, MemoryError, SafetensorError) as error:
        if is_memory_full(error):
            raise _no_room(where, sum(file.stat().st_size for file in Path(where).glob("*.*")), "cpu") from error
        why = " ".join(str(error).split())[:200]
        raise FamilyError(
            f"The weights in '{where}' cannot be read ({why}): download or train the model again."
        ) from error
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise FamilyError(f"The weights in '{where}' lack {len(missing)} tensors, the first is '{missing[0]}'.")
    refuse_dropped_layers(where, info.get("unexpected_keys", ()), network.state_dict())
    refuse_nan(network, where)
    network.requires_grad_(False)
    return move(network.eval(), device, where)


def read_tokenizer(folder: Path, part: str = "tokenizer", kind: str = "AutoTokenizer") -> Any:
    """Return a folder's tokenizer, or by "AutoProcessor" one of texts and pictures. Raises FamilyError."""
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise FamilyError(f"The tokenizer in '{folder}/{part}' cannot be read: {error}") from error


def read_image_processor(folder: Path, part: str = "image_processor") -> Any:
    """Return the preprocessor of an image encoder. Raises FamilyError."""
    import transformers

    _, name = read_json(folder / "model_index.json").get(part, (None, "CLIPImageProcessor"))
    try:
        return getattr(transformers, name).from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
        raise FamilyError(f"The image processor in '{folder}/{part}' cannot be read: {error}") from error


def text_fingerprint(folder: Path) -> str:
    """Return 16 hex digits that change with the files of the text encoding (their names, sizes and times)."""
    parts = [part for pattern in TEXT_FOLDERS for part in folder.glob(pattern)]
    files = sorted(file for part in parts for file in part.rglob("*") if file.is_file())
    stats = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([str(folder.resolve()), stats]).encode()).hexdigest()[:16]


@contextmanager
def on_device(network: Any, device: str) -> Iterator[None]:
    """Move the network to `device` inside the block, then back; a no-op when it is there already."""
    home = network.device
    network.to(device)
    try:
        yield
    finally:
        network.to(home)


def move(network: Any, device: str, where: str) -> Any:
    """Move the network to `device`. Raises FamilyError with its size when the device's memory is full."""
    try:
        return network.to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_memory_full(error):
            raise
        size = sum(tensor.nbytes for tensor in network.state_dict().values())
        raise _no_room(where, size, device) from error


def is_memory_full(error: BaseException) -> bool:
    """Return True for an out-of-memory error of a GPU, numpy, or torch on a CPU (which has no class)."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _no_room(where: str, size: int, device: str) -> FamilyError:
    return FamilyError(
        f"'{where}' needs {size / 2**30:.1f} GiB on {device}, more than is free there: free the device, or choose a "
        "smaller model."
    )
