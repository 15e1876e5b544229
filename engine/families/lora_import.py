"""Conversion of other programs' LoRA files to diffusers' format, by diffusers' own mapping of names.

Supported: diffusers' format with or without network prefixes, PEFT's (`base_model.model.`), ComfyUI's
(`diffusion_model.`), kohya's and musubi-tuner's (`lora_unet_`), each with or without `.alpha` tensors.
"""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError
from engine.families.loading import DiffusersFamily, find_folder, folder_needs, read_json
from engine.families.lora import find_mismatches
from engine.families.lora_files import FIRST, SECOND, SIDES, Lora, for_pipeline, read_file, split
from engine.families.lora_formats import TEXT, form_of
from engine.model_spec import FamilySpec

if TYPE_CHECKING:
    from torch import Tensor

TEXT_KEYS = ("text_encoder.", "text_encoder_2.", "connectors.", "lora_te")
OLDER_NAMES = {".lora_down.": ".lora_A.", ".lora_up.": ".lora_B.", ".lora.down.": ".lora_A.", ".lora.up.": ".lora_B."}
PEFT_PREFIX = "base_model.model."
PEFT_CONFIG = "adapter_config.json"
KOHYA_ALPHA = "ss_network_alpha"  # in the header of kohya's files


def convert(file: Path, spec: FamilySpec, *, alpha: float | None = None, network_only: bool = False) -> dict[str, Lora]:
    """Return the LoRA layers of a file by their network's name in the pipeline.

    `alpha` is for files that state none; `network_only` leaves out the text encoders' layers. Raises FamilyError for a
    file that cannot be read, has a format that is not converted, or states no alpha.
    """
    tensors, header = read_file(file)
    if network_only:
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(TEXT_KEYS)}
    form = form_of(tensors)
    if form is TEXT or (form is not None and any(key.startswith("lora_te") for key in tensors)):
        raise FamilyError(f"'{file}' is {TEXT.title}: {TEXT.remedy}")
    if form is not None and not form.is_converted:
        raise FamilyError(f"'{file}' is {form.title}: {form.remedy}")
    has_alphas = any(key.endswith(".alpha") for key in tensors)
    if has_alphas and alpha is not None:
        raise FamilyError(f"'{file}' states the alpha of its layers itself: leave --alpha out.")
    if form is not None and form.key == "peft":
        tensors = {key.removeprefix(PEFT_PREFIX): tensor for key, tensor in tensors.items()}
        alpha = _alpha_beside(file) if alpha is None else alpha
    elif form is not None:
        tensors = _by_diffusers(file, spec, tensors)
    if alpha is None and not has_alphas and KOHYA_ALPHA in header:
        alpha = float(header[KOHYA_ALPHA])
    return for_pipeline(split(file, tensors, header, alpha), spec.network_part)


def check_fit(family: type[DiffusersFamily], source: str, name: str, parts: Mapping[str, Lora]) -> None:
    """Raise FamilyError when layers do not fit the model in `source`, without reading its weights.

    A model with parts from several sources (AnimateDiff) is checked when the adapter is used.
    """
    part = family.spec.network_part
    if not isinstance(family.parts[part], str):
        return
    folder = find_folder(source, folder_needs(family))
    index = read_json(folder / "model_index.json")
    places = [FIRST, SECOND] if index.get("boundary_ratio") is not None else [part]
    for network, lora in parts.items():
        if network not in places:
            raise FamilyError(f"'{name}' has layers for '{network}', which the model in '{folder}' does not have.")
        problems = (
            find_mismatches(_meta_network(folder, network, index[network]), lora.tensors) if network in index else []
        )
        if problems:
            more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise FamilyError(f"'{name}' does not fit the model in '{folder}': {problems[0]}{more}.")


def _meta_network(folder: Path, part: str, entry: Any) -> Any:
    """Return a network of the folder's index on the meta device, without memory for its tensors."""
    import torch

    library, name = entry
    network = getattr(importlib.import_module(library), name)
    with torch.device("meta"):
        return network.from_config(network.load_config(folder, subfolder=part))


def _by_diffusers(file: Path, spec: FamilySpec, tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the tensors by diffusers' names.

    Raises FamilyError when diffusers cannot convert them for this family.
    """
    import diffusers.loaders
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    form = form_of(tensors)
    loader = getattr(diffusers.loaders.lora_pipeline, spec.lora_loader)
    named = tensors if any(key.startswith("lora_unet_") for key in tensors) else _newer_names(tensors)
    try:
        converted = loader.lora_state_dict(dict(named)) if form_of(named) is not None else named
        converted, alphas = converted if isinstance(converted, tuple) else (converted, None)
        if form_of(converted) is not None:
            converted = convert_unet_state_dict_to_peft(converted)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise FamilyError(_not_converted(file, spec, form, f" ({' '.join(str(error).split())[:160]})")) from error
    if form_of(converted) is not None:
        raise FamilyError(_not_converted(file, spec, form, ""))
    return _with_alphas(file, tensors, converted, alphas or {})


def _not_converted(file: Path, spec: FamilySpec, form: Any, why: str) -> str:
    return (
        f"'{file}' is {form.title}, which diffusers does not convert for {spec.title}{why}: convert it to diffusers' "
        "format with the tools of the program that made it."
    )


def _with_alphas(
    file: Path, before: "Mapping[str, Tensor]", after: "dict[str, Tensor]", alphas: Mapping[str, Any]
) -> "dict[str, Tensor]":
    """Return the converted tensors with an alpha for each layer if the file had alphas.

    Where the conversion has multiplied the factor into the tensors, the alpha is the rank.
    """
    import torch

    stated = sum(key.endswith(".alpha") for key in before)
    ranks = {key.removesuffix(SIDES[0]): len(tensor) for key, tensor in after.items() if key.endswith(SIDES[0])}
    if 0 < stated < len(ranks):
        raise FamilyError(f"'{file}' states the alpha of {stated} of its {len(ranks)} layers: it is incomplete.")
    if not stated or any(key.endswith(".alpha") for key in after):
        return after
    values: Mapping[str, Any] = _named_alphas(alphas) if alphas else ranks
    if values.keys() != ranks.keys():
        raise FamilyError(f"'{file}' states alphas of layers that it does not have, or not of all: it is incomplete.")
    return after | {f"{layer}.alpha": torch.tensor(float(value)) for layer, value in values.items()}


def _named_alphas(alphas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the alphas from diffusers' conversion of kohya's files, by layer name."""
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    named = convert_unet_state_dict_to_peft({key.removesuffix(".alpha"): value for key, value in alphas.items()})
    return {key.removesuffix(SIDES[0]): value for key, value in named.items()}


def _newer_names(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    named = {}
    for key, tensor in tensors.items():
        for old, new in OLDER_NAMES.items():
            key = key.replace(old, new)
        named[key] = tensor
    return named


def _alpha_beside(file: Path) -> float | None:
    """Return `lora_alpha` of the PEFT `adapter_config.json` in the file's folder; None for none.

    Raises FamilyError.
    """
    path = file.with_name(PEFT_CONFIG)
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        alpha = float(config["lora_alpha"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FamilyError(f"'{path}' states no readable lora_alpha ({error}): pass it with --alpha.") from error
    if config.get("use_dora") or config.get("alpha_pattern") or config.get("rank_pattern") or config.get("use_rslora"):
        raise FamilyError(
            f"'{path}' has settings beyond rank and alpha (DoRA, rslora or patterns), which are not converted: save "
            "the adapter by diffusers' save_lora_adapter."
        )
    return alpha
