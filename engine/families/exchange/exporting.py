"""Export of adapters in the formats of diffusers, ComfyUI and kohya's programs.

- diffusers: see `engine.families.lora_files`.
- comfyui: `diffusion_model.<layer>.lora_A.weight`, layers by the names of the model's own code. `alpha / rank` is
  multiplied into lora_B and no alpha is stated, so that programs that ignore alphas get the same model; the header
  states this for `importing`.
- kohya: `lora_unet_<layer>.lora_down.weight`, dots as underscores, with every layer's `.alpha`; musubi-tuner and
  sd-scripts write and ComfyUI reads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import FamilyError
from engine.families.exchange.renaming import to_native
from engine.families.lora_files import SECOND_NETWORK, SIDES, Lora, write_parts
from engine.family_interface import FamilySpec

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("diffusers", "comfyui", "kohya")
FOLDED_KEY, FOLDED = "dailies.alpha", "rank"  # in a header: the factor of every layer is in lora_B


def write_format(folder: Path, name: str, parts: Mapping[str, Lora], spec: FamilySpec, form: str) -> None:
    """Write an adapter into the folder in one of FORMATS.

    Its files are called `name` unless diffusers names them. A pair of experts is two files. Raises FamilyError, before
    it writes, for a format that the family or one of the adapter's layers does not have.
    """
    from safetensors.torch import save_file

    if form == "diffusers":
        write_parts(folder, parts)
        return
    files = {_file_name(name, part, parts): native_layers(lora, spec, form) for part, lora in parts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for file, lora in files.items():
        tensors, header = (comfyui_file if form == "comfyui" else kohya_file)(lora)
        save_file(tensors, folder / file, metadata={"format": "pt", "modelspec.title": name, **header})


def native_layers(lora: Lora, spec: FamilySpec, form: str) -> Lora:
    """Return the layers by their names in the model's own code. Raises FamilyError, see `write_format`."""
    if form not in spec.layer_names.formats:
        raise FamilyError(f"{spec.title} has no {form} format: {spec.layer_names.otherwise}")
    try:
        return to_native(lora, spec.layer_names)
    except FamilyError as error:
        raise FamilyError(
            f"The adapter cannot be written in the {form} format of {spec.title} ({error}): choose --format diffusers."
        ) from error


def comfyui_file(lora: Lora) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return the tensors and the header of a file for ComfyUI."""
    tensors: dict[str, Tensor] = {}
    for layer, rank in lora.ranks.items():
        down, up = (lora.tensors[layer + side] for side in SIDES)
        tensors[f"diffusion_model.{layer}{SIDES[0]}"] = down.contiguous()
        tensors[f"diffusion_model.{layer}{SIDES[1]}"] = (up * (lora.alphas[layer] / rank)).contiguous()
    return tensors, {FOLDED_KEY: FOLDED}


def kohya_file(lora: Lora) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return the tensors and the header of a file for kohya's programs."""
    import torch

    tensors: dict[str, Tensor] = {}
    for layer in lora.ranks:
        name = f"lora_unet_{layer.replace('.', '_')}"
        down, up = (lora.tensors[layer + side].contiguous() for side in SIDES)
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(float(lora.alphas[layer]))
    settings = lora.settings()
    return tensors, {"ss_network_dim": str(settings["r"]), "ss_network_alpha": str(settings["lora_alpha"])}


def _file_name(name: str, part: str, parts: Mapping[str, Lora]) -> str:
    if SECOND_NETWORK not in parts:
        return f"{name}.safetensors"
    return f"{name}_{'low' if part == SECOND_NETWORK else 'high'}_noise.safetensors"
