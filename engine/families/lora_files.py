"""LoRA files on disk, in the format of diffusers' `load_lora_weights`.

Imports no torch at its top level.

An adapter's folder holds `pytorch_lora_weights.safetensors` with the layers of the pipeline's `transformer` (or
`unet`), and for a model of two experts `pytorch_lora_weights_transformer_2.safetensors` with those of `transformer_2`,
which diffusers loads with `load_into_transformer_2=True`; its keys begin with "transformer." as well, as that loader
expects. The header's `lora_adapter_metadata` contains rank and alpha. Files whose keys have no prefix, written by
earlier versions of Dailies, are read too.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import FamilyError
from engine.families.exchange.formats import form_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
SECOND_FILE = "pytorch_lora_weights_transformer_2.safetensors"
WEIGHT_FILES = (WEIGHTS_FILE, SECOND_FILE)
METADATA_KEY = "lora_adapter_metadata"  # diffusers' key in a file's header
FIRST_NETWORK, SECOND_NETWORK, UNET = "transformer", "transformer_2", "unet"  # names in diffusers' pipelines
EXPERTS = {"high_noise": FIRST_NETWORK, "low_noise": SECOND_NETWORK}
"""Maps an expert's name in our network of two experts to its name in the diffusers pipeline."""
BARE = ""
"""Stands for a missing network name: keys have no prefix."""
SIDES = (".lora_A.weight", ".lora_B.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """LoRA layers of one network: W + alpha / r * B A (Hu et al., arXiv:2106.09685, section 4.1).

    `tensors` has `<layer>.lora_A.weight` `[r,in,...]` and `<layer>.lora_B.weight` `[out,r,...]`; `alphas` has every
    layer's alpha.
    """

    tensors: "Mapping[str, Tensor]"
    alphas: Mapping[str, float]

    @property
    def ranks(self) -> dict[str, int]:
        return _ranks(self.tensors)

    def within(self, prefix: str) -> "Lora":
        """Return the layers whose names begin with `prefix`, without the prefix."""
        return Lora(tensors=_below(self.tensors, prefix), alphas=_below(self.alphas, prefix))

    def below(self, prefix: str) -> "Lora":
        """Return the same layers with `prefix` before their names."""
        return Lora(
            tensors={prefix + key: tensor for key, tensor in self.tensors.items()},
            alphas={prefix + key: alpha for key, alpha in self.alphas.items()},
        )

    def merged(self, lora: "Lora") -> "Lora":
        """Return the layers of both; those of `lora` override this one's."""
        return Lora(tensors={**self.tensors, **lora.tensors}, alphas={**self.alphas, **lora.alphas})

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `peft.LoraConfig` that give every layer its rank and alpha."""
        r, rank_pattern = _with_exceptions(self.ranks)
        alpha, alpha_pattern = _with_exceptions(self.alphas)
        return {
            "peft_type": "LORA",
            "r": r,
            "lora_alpha": alpha,
            "rank_pattern": rank_pattern,
            "alpha_pattern": alpha_pattern,
            "target_modules": sorted(self.ranks),
        }


def has_weights(folder: Path) -> bool:
    """Return True when a folder has an adapter's weights under the file names of Dailies."""
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def read_parts(folder: Path) -> dict[str, Lora]:
    """Read the adapter in a folder: LoRA layers by their network's name in the pipeline, or BARE.

    Raises FamilyError when a file is damaged, has another format, or does not state its alpha.
    """
    parts: dict[str, Lora] = {}
    for file in adapter_files(folder):
        tensors, header = read_file(file)
        refuse_other_forms(file, tensors)
        renamed = {FIRST_NETWORK: SECOND_NETWORK, BARE: SECOND_NETWORK} if file.name == SECOND_FILE else {}
        for part, lora in split(file, tensors, header).items():
            name = renamed.get(part, part)
            parts[name] = parts[name].merged(lora) if name in parts else lora
    return parts


def write_parts(folder: Path, parts: Mapping[str, Lora]) -> None:
    """Write each network's layers to its file in the folder, see the module's docstring."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for part, lora in parts.items():
        prefix = FIRST_NETWORK if part == SECOND_NETWORK else part
        settings = {f"{prefix}.{key}": value for key, value in lora.settings().items()}
        header = {"format": "pt", METADATA_KEY: json.dumps(settings, indent=2, sort_keys=True)}
        tensors = {f"{prefix}.{key}": tensor.contiguous() for key, tensor in lora.tensors.items()}
        save_file(tensors, folder / (SECOND_FILE if part == SECOND_NETWORK else WEIGHTS_FILE), metadata=header)


def for_pipeline(parts: Mapping[str, Lora], network: str) -> dict[str, Lora]:
    """Return the same layers, with BARE ones assigned to their expert or to `network`."""
    named = {part: lora for part, lora in parts.items() if part != BARE}
    if BARE not in parts:
        return named
    bare = parts[BARE]
    experts = {part: bare.within(f"{expert}.") for expert, part in EXPERTS.items()}
    return named | ({part: lora for part, lora in experts.items() if lora.tensors} or {network: bare})


def adapter_files(folder: Path) -> list[Path]:
    """Return the files of an adapter.

    Raises FamilyError when the folder has none, or several without a standard name.
    """
    standard = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if standard:
        return standard
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if len(files) != 1:
        raise FamilyError(f"'{folder}' holds {len(files)} safetensors files: an adapter's folder needs {WEIGHTS_FILE}.")
    return files


def state_of(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return path, modification time (ns) and size (bytes) of each file.

    They change when the adapter is replaced.
    """
    files = [(file, file.stat()) for file in adapter_files(folder)]
    return tuple((str(file), stat.st_mtime_ns, stat.st_size) for file, stat in files)


def read_file(file: Path) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Return the tensors of a safetensors file and the metadata of its header. Raises FamilyError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}
            header = dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise FamilyError(f"'{file}' cannot be read ({error}): train or copy the adapter again.") from error
    if not tensors:
        raise FamilyError(f"'{file}' holds no tensors: train or copy the adapter again.")
    return tensors, header


def refuse_other_forms(file: Path, keys: Iterable[str]) -> None:
    """Raise FamilyError for a file that is not in diffusers' format, naming its format and the remedy."""
    form = form_of(keys)
    if form is not None:
        raise FamilyError(f"'{file}' is {form.title}: {form.remedy}")


def split(
    file: Path, tensors: "Mapping[str, Tensor]", header: Mapping[str, str], alpha: float | None = None
) -> dict[str, Lora]:
    """Return the layers of a file by their network's name in the pipeline.

    Alphas come from the file (`.alpha` tensors, else the metadata), else from `alpha`. Raises FamilyError.
    """
    metadata = read_metadata(file, header) if alpha is None else {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, name = _part_of(key)
        parts.setdefault(part, {})[name] = tensor
    return {part: _lora(file, layers, _settings_of(metadata, part), alpha) for part, layers in parts.items()}


def read_metadata(file: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """Return the LoRA settings in a file's header; {} for none. Raises FamilyError when they are damaged."""
    text = header.get(METADATA_KEY)
    if text is None:
        return {}
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise FamilyError(f"'{file}': the LoRA metadata in its header is no JSON ({error}). {AGAIN}") from error
    if not isinstance(metadata, dict):
        raise FamilyError(f"'{file}': the LoRA metadata in its header is no JSON object. {AGAIN}")
    return metadata


AGAIN = "Export the adapter again, or import it with `dailies adapters import ... --alpha N`, which ignores them."


def _lora(file: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, Any], alpha: float | None) -> Lora:
    """Return the layers of one network with their alphas."""
    layers = {key: tensor for key, tensor in tensors.items() if not key.endswith(".alpha")}
    own = {key.removesuffix(".alpha"): _number(file, key, tensors[key]) for key in tensors.keys() - layers.keys()}
    ranks = _ranks(layers)
    stated = {} if alpha is not None else _stated(file, layers, metadata)
    alphas = {layer: own.get(layer, stated.get(layer, alpha)) for layer in ranks}
    unknown = [layer for layer, value in alphas.items() if value is None]
    if unknown:
        rank = ranks[unknown[0]]
        raise FamilyError(
            f"'{file}' does not state its alpha (neither LoRA metadata in the header nor .alpha tensors): import it "
            f"with `dailies adapters import NAME FILE --model MODEL --alpha N`, where N is the lora_alpha that it was "
            f"trained with (its rank, {rank}, if it is meant to be added without a factor)."
        )
    return Lora(tensors=layers, alphas={layer: float(value) for layer, value in alphas.items() if value is not None})


def _stated(file: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, Any]) -> dict[str, float]:
    """Return each layer's alpha as stated in the metadata; {} for none.

    With `use_rslora` the factor is alpha / sqrt(r) (arXiv:2312.03732); the returned alpha gives the same factor as
    alpha / r. Raises FamilyError when the metadata contradicts the tensors.
    """
    from peft.utils.other import get_pattern_key

    patterns = {}
    for name in ("rank_pattern", "alpha_pattern"):
        value = metadata.get(name) or {}
        if not isinstance(value, dict):
            raise FamilyError(f"'{file}': {name} in its header is {value!r}, no table of layers. {AGAIN}")
        patterns[name] = value
    alphas = {}
    for layer, rank in _ranks(tensors).items():
        r, alpha = (
            patterns[pattern].get(get_pattern_key(list(patterns[pattern]), layer), metadata.get(name))
            for pattern, name in (("rank_pattern", "r"), ("alpha_pattern", "lora_alpha"))
        )
        if r is not None and r not in _sizes(tensors, layer):
            raise FamilyError(
                f"'{file}': its header says rank {r!r}, but the tensors of '{layer}' have {rank}. {AGAIN}"
            )
        if alpha is not None:
            factor = math.sqrt(rank) if metadata.get("use_rslora") else 1.0
            alphas[layer] = _number(file, "lora_alpha", alpha) * factor
    return alphas


def _settings_of(metadata: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """Return the settings of one network.

    BARE layers use the settings of the first network; metadata without network names apply to every network.
    """
    prefixes = [f"{name}." for name in ([part] if part != BARE else [FIRST_NETWORK, UNET])]
    return next((own for prefix in prefixes if (own := _below(metadata, prefix))), metadata)


def _number(file: Path, name: str, value: Any) -> float:
    """Return `value` as a finite number other than 0. Raises FamilyError."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if isinstance(value, bool | str) or not math.isfinite(number) or number == 0:
        raise FamilyError(f"'{file}': {name} is {value!r}, but must be a finite number other than 0. {AGAIN}")
    return number


def _part_of(key: str) -> tuple[str, str]:
    """Split a key into its network's name in the pipeline, or BARE, and the rest."""
    first, _, rest = key.partition(".")
    return (first, rest) if first in (FIRST_NETWORK, SECOND_NETWORK, UNET) and rest else (BARE, key)


def _ranks(tensors: "Mapping[str, Tensor]") -> dict[str, int]:
    """Return the rank of each layer, from one tensor when the other is missing."""
    ranks: dict[str, int] = {}
    for key, tensor in tensors.items():
        side = next((side for side in SIDES if key.endswith(side)), None)
        if side is not None and tensor.ndim >= 2:
            ranks.setdefault(key.removesuffix(side), int(tensor.shape[SIDES.index(side)]))
    return ranks


def _sizes(tensors: "Mapping[str, Tensor]", layer: str) -> set[int]:
    """Return the ranks of the layer's tensors: a single value unless they contradict each other."""
    own = {axis: tensors.get(layer + side) for axis, side in enumerate(SIDES)}
    return {int(tensor.shape[axis]) for axis, tensor in own.items() if tensor is not None and tensor.ndim >= 2}


def _with_exceptions(values: Mapping[str, float]) -> tuple[Any, dict[str, Any]]:
    """Return the most frequent value, and a pattern for every layer with another value."""
    default = Counter(values.values()).most_common(1)[0][0]
    numbers = {layer: int(value) if float(value).is_integer() else value for layer, value in values.items()}
    default = int(default) if float(default).is_integer() else default
    return default, {f"^{layer}": value for layer, value in numbers.items() if value != default}


def _below(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
