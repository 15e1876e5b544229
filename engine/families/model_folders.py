"""What a model's folder must be, told before weights are read: one sentence for the forms that are not read."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from engine.errors import FamilyError

BASE = r"(?:diffusion_pytorch_model|model|pytorch_model)"
SHARD = r"(?:-\d{5}-of-\d{5})?"
PLAIN = re.compile(rf"{BASE}{SHARD}\.(?:safetensors|bin)")
VARIANT = re.compile(rf"{BASE}{SHARD}\.([A-Za-z]\w*){SHARD}\.safetensors")
CONVERT = (
    "Dailies reads diffusers folders (model_index.json and a folder for each part): name one, or make one of the file "
    "by the pipeline's from_single_file and save_pretrained in diffusers."
)


def refuse_file(source: str) -> None:
    """Raises FamilyError when `source` is one file, or names one."""
    if Path(source).is_file() or source.endswith((".safetensors", ".gguf", ".ckpt", ".pt")):
        is_gguf = source.endswith(".gguf")
        raise FamilyError(f"'{source}' is a single {'GGUF (quantised) ' if is_gguf else ''}file. {CONVERT}")


def refuse_loose_files(folder: Path) -> None:
    """Raises FamilyError when the folder has weights in it but is no diffusers model."""
    loose = sorted(path.name for pattern in ("*.safetensors", "*.gguf", "*.ckpt") for path in folder.glob(pattern))
    if loose and not (folder / "model_index.json").is_file():
        raise FamilyError(f"'{folder}' has no model_index.json, but '{loose[0]}', a model in a single file. {CONVERT}")


def variant_of(folder: Path) -> str | None:
    """The variant, such as "fp16", of a part whose weights come in no other form; None where they come plain."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if any(PLAIN.fullmatch(name) for name in names):
        return None
    return next((found[1] for name in sorted(names) if (found := VARIANT.fullmatch(name))), None)


def refuse_quantised(folder: Path) -> None:
    """Raises FamilyError when the part's configuration says that its weights are quantised."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # the reading of the weights says what is wrong
    found = config.get("quantization_config") if isinstance(config, dict) else None
    if found:
        method = found.get("quant_method", "some method") if isinstance(found, dict) else "some method"
        raise FamilyError(
            f"The weights in '{folder}' are quantised ({method}), which Dailies neither trains nor runs: name a folder "
            "with the model's own weights."
        )


def refuse_dropped_layers(where: str, unexpected: Iterable[str], known: Iterable[str]) -> None:
    """Raises FamilyError when weights hold layers that the network has, by its configuration, fewer of."""
    kinds = {_kind(name) for name in known}
    dropped = sorted(name for name in unexpected if _kind(name) in kinds)
    if dropped:
        raise FamilyError(
            f"The weights in '{where}' have {len(dropped)} tensors more than config.json there has layers for, first "
            f"'{dropped[0]}': the configuration is of another model, so download both again."
        )


def _kind(name: str) -> str:
    """A tensor's name without the numbers of layers."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", f".{name}")
