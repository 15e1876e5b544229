"""Conversion of other programs' LoRA files to diffusers' format.

Supported: diffusers' format with or without network prefixes, PEFT's (`base_model.model.`), ComfyUI's
(`diffusion_model.`), kohya's and musubi-tuner's (`lora_unet_`), OneTrainer's (`lora_transformer_`), each with lora_A
and lora_B or lora_down and lora_up, and layers by diffusers' names or those of the model's own code.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError
from engine.families.base import NO_PARTS, DiffusersFamily
from engine.families.exchange.exporting import FOLDED, FOLDED_KEY
from engine.families.exchange.formats import DIFFERENCES, TEXT, form_of
from engine.families.exchange.renaming import to_diffusers
from engine.families.files.single_files import is_single_file
from engine.families.loading import INDEX_FILE, find_folder, read_json
from engine.families.lora import find_mismatches
from engine.families.lora_files import (
    FIRST_NETWORK,
    METADATA_KEY,
    SECOND_NETWORK,
    SIDES,
    Lora,
    for_pipeline,
    read_file,
    split,
)
from engine.family_interface import FamilySpec
from engine.hub.selection import CONFIG, Needs

if TYPE_CHECKING:
    from torch import Tensor

TEXT_KEYS = ("text_encoder.", "text_encoder_2.", "connectors.", "lora_te")
PREFIX = re.compile(
    r"((?:transformer|transformer_2|unet)\.)?"
    r"(?:base_model\.model\.|(?:model\.)?diffusion_model\.|lora_unet_+|lora_transformer_|pipe\.dit\.)*"
)
SIDE = re.compile(
    r"\.(?:lora_|lora\.|lora_linear_layer\.)(down|up|A|B)(?:\.[^.]+)?\.weight"
)  # [^.]+: PEFT's adapter name
PROCESSOR = re.compile(r"(?:\.processor)?\.(to_\w+)_lora\.(down|up)\.weight")  # diffusers' attention processors
PEFT_CONFIG = "adapter_config.json"
KOHYA_ALPHA = "ss_network_alpha"  # in the header of kohya's files


def convert(
    file: Path, spec: FamilySpec, *, alpha: float | None = None, network_only: bool = False, lora_only: bool = False
) -> dict[str, Lora]:
    """Return the LoRA layers of a file by their network's name in the pipeline.

    `alpha` is for files that state none; `network_only` leaves out the text encoders' layers, `lora_only` whole
    differences of layers. Raises FamilyError for a file that cannot be read, has a format or layers that are not
    converted, or states no alpha.
    """
    tensors, header = read_file(file)
    if lora_only:
        tensors = {key: tensor for key, tensor in tensors.items() if not key.endswith(DIFFERENCES)}
    if network_only:
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(TEXT_KEYS)}
    form = form_of(tensors)
    if form is TEXT or (form is not None and any(key.startswith("lora_te") for key in tensors)):
        raise FamilyError(f"'{file}' is {TEXT.title}: {TEXT.remedy}")
    if form is not None and not form.is_converted:
        raise FamilyError(f"'{file}' is {form.title}: {form.remedy}")
    tensors = {_plain_key(key): tensor for key, tensor in tensors.items()}
    has_alphas = _check_alphas(file, tensors)
    if has_alphas and alpha is not None:
        raise FamilyError(f"'{file}' states the alpha of its layers itself: leave --alpha out.")
    if alpha is None and not has_alphas:
        if header.get(FOLDED_KEY) == FOLDED:
            tensors |= _ranks_as_alphas(tensors)
        elif KOHYA_ALPHA in header:
            alpha = _kohya_alpha(file, header[KOHYA_ALPHA])
        elif METADATA_KEY not in header:
            header |= _settings_beside(file, None if form is not None and form.key == "peft" else tensors)
    parts = split(file, tensors, header, alpha)
    renamed = {part: to_diffusers(file, lora, spec.layer_names) for part, lora in parts.items()}
    return for_pipeline(renamed, spec.network_part)


def _plain_key(key: str) -> str:
    """Return a key without other programs' prefixes, with lora_A and lora_B."""

    def side(match: "re.Match[str]") -> str:
        return SIDES[0] if match[1] in ("down", "A") else SIDES[1]

    def layer_and_side(match: "re.Match[str]") -> str:
        layer = "to_out.0" if match[1] == "to_out" else match[1]
        return f".{layer}{SIDES[match[2] == 'up']}"

    return SIDE.sub(side, PROCESSOR.sub(layer_and_side, PREFIX.sub(r"\1", key, count=1)))


def _check_alphas(file: Path, tensors: "Mapping[str, Tensor]") -> bool:
    """Return True when the file has an alpha for each layer. Raises FamilyError when it has some."""
    layers = {key.removesuffix(SIDES[0]) for key in tensors if key.endswith(SIDES[0])}
    stated = {key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")}
    if stated - layers:
        raise FamilyError(f"'{file}' states the alpha of '{min(stated - layers)}', which it lacks: it is incomplete.")
    if stated and layers - stated:
        raise FamilyError(f"'{file}' states the alpha of {len(stated)} of its {len(layers)} layers: it is incomplete.")
    return bool(stated)


def _ranks_as_alphas(tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    import torch

    downs = {key.removesuffix(SIDES[0]): tensor for key, tensor in tensors.items() if key.endswith(SIDES[0])}
    return {f"{layer}.alpha": torch.tensor(float(len(down))) for layer, down in downs.items()}


def _kohya_alpha(file: Path, text: str) -> float:
    """Return the number in kohya's header. Raises FamilyError."""
    try:
        alpha = float(text)
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha) or alpha == 0:
        raise FamilyError(
            f"'{file}': {KOHYA_ALPHA} in its header is '{text[:40]}', but must be a finite number other than 0: pass "
            "the alpha with --alpha N."
        )
    return alpha


def _settings_beside(file: Path, tensors: "Mapping[str, Tensor] | None") -> dict[str, str]:
    """Return the PEFT `adapter_config.json` in the file's folder as a header; {} for none.

    With the `tensors` of a file that is not in PEFT's format, also {} where the rank of no layer is that of the
    settings, which may be those of another file. Raises FamilyError.
    """
    path = file.with_name(PEFT_CONFIG)
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        float(config["lora_alpha"])
        downs = [tensor for key, tensor in (tensors or {}).items() if key.endswith(SIDES[0])]
        if tensors is not None and not any(len(down) == config["r"] for down in downs):
            return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FamilyError(f"'{path}' states no readable lora_alpha ({error}): pass it with --alpha.") from error
    if config.get("use_dora"):
        raise FamilyError(
            f"The adapter of '{path}' is a DoRA adapter, which Dailies does not support: use a plain LoRA."
        )
    return {METADATA_KEY: json.dumps(config)}


def check_fit(
    family: type[DiffusersFamily],
    source: str,
    name: str,
    parts: Mapping[str, Lora],
    elsewhere: Mapping[str, str] = NO_PARTS,
) -> bool:
    """Raise FamilyError when layers do not fit the model in `source`, from its configuration alone.

    `elsewhere` are the sources of parts from elsewhere. Return False, without a check, for a model whose network is put
    together from several sources (AnimateDiff).
    """
    part = family.spec.network_part
    if not isinstance(family.parts[part], str):
        return False
    folder = find_folder(source, Needs(files=(INDEX_FILE,)))
    index = read_json(folder / INDEX_FILE)
    places = [FIRST_NETWORK, SECOND_NETWORK] if index.get("boundary_ratio") is not None else [part]
    for network, lora in parts.items():
        if network not in places:
            raise FamilyError(f"'{name}' has layers for '{network}', which the model in '{folder}' does not have.")
        if network not in index:
            continue
        at = _config_folder(source, network, elsewhere.get(network))
        problems = find_mismatches(_meta_network(at), lora.tensors)
        if problems:
            more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise FamilyError(f"'{name}' does not fit the model in '{at}': {problems[0]}{more}.")
    return True


def _config_folder(source: str, part: str, elsewhere: str | None) -> Path:
    """Return the folder of a network's configuration. One in a single file has that of the model."""
    if elsewhere is None or is_single_file(elsewhere):
        return find_folder(source, Needs(files=(INDEX_FILE, f"{part}/{CONFIG}"))) / part
    return find_folder(elsewhere, Needs(files=(CONFIG,)))


def _meta_network(folder: Path) -> Any:
    """Return the network of a configuration on the meta device, without memory for its tensors."""
    import diffusers
    import torch

    network = getattr(diffusers, str(read_json(folder / CONFIG).get("_class_name")), None)
    if network is None:
        raise FamilyError(f"'{folder}' is no network of diffusers: choose another model.")
    with torch.device("meta"):
        return network.from_config(network.load_config(folder))
