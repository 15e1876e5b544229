"""Networks in single files, read by diffusers' loaders.

The files have their authors' own layout, as ComfyUI reads them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError
from engine.families.files.gguf_files import GGUF, read_gguf
from engine.families.files.model_folders import refuse_nan

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"
QUANTISED = ("F8_E4M3", "F8_E5M2", "I8", "U8")


def is_single_file(source: str) -> bool:
    """Return True for a file with weights: a path, existing or not, or `owner/name/file` on the hub."""
    return source.endswith((SUFFIX, GGUF)) and (source.startswith(("/", ".", "~")) or source.count("/") > 1)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file that was not read: its dtype by safetensors' name, such as "BF16", and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a .safetensors file by name. Raises FamilyError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}
            return {name: StoredTensor(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (OSError, SafetensorError) as error:
        raise FamilyError(f"'{file}' cannot be read as {SUFFIX} ({error}): download it again.") from error


def refuse_quantised_file(file: Path) -> None:
    """Raise FamilyError for a file with weights of 8 bits or less."""
    for name, stored in read_header(file).items():
        if stored.dtype in QUANTISED:
            raise FamilyError(
                f"'{file}' is quantised: tensor '{name}' is {stored.dtype}. Name a file with float16, bfloat16 or "
                "float32 weights."
            )


def read_single_file(file: Path, folder: Path, part: str, dtype: "torch.dtype") -> Any:
    """Return a frozen network on the CPU from one file.

    It has the configuration of the `part` of a model's folder.

    GGUF is decoded. Raises FamilyError for a file that is damaged, of another network or quantised in another way, and
    for a class of diffusers that reads no single files.
    """
    import diffusers
    from safetensors import SafetensorError

    try:
        name = str(json.loads((folder / part / "config.json").read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FamilyError(f"'{folder}/{part}/config.json' cannot be read ({error}): download it again.") from error
    model_class: Any = getattr(diffusers, name, None)
    if not hasattr(model_class, "from_single_file"):
        raise FamilyError(f"diffusers reads no single file into a {name}: convert '{file}' to a diffusers folder.")
    weights: Any = str(file)
    if file.suffix == GGUF:
        weights = read_gguf(file, dtype)
    else:
        refuse_quantised_file(file)
    try:
        network = model_class.from_single_file(weights, config=str(folder), subfolder=part, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        why = " ".join(str(error).split())[:200]
        raise FamilyError(
            f"'{file}' does not fit the {part} of '{folder}' ({why}): name a file of that model, or another model."
        ) from error
    _cast(network, dtype)
    refuse_nan(network, str(file))
    return network.requires_grad_(False).eval()


def _cast(network: Any, dtype: "torch.dtype") -> None:
    """Cast weights as `from_pretrained` does: the modules that the class keeps in float32 stay exact.

    `from_single_file` casts them, too, if it is given a data type.
    """
    exact = set(network._keep_in_fp32_modules or ())
    for name, parameter in network.named_parameters():
        parameter.data = parameter.data.float() if exact.intersection(name.split(".")) else parameter.data.to(dtype)
