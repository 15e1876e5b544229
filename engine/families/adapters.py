"""LoRA on any family's network: load, switch, unload, save. At rest an adapter is a folder with one safetensors file.

A network is a diffusers model with `PeftAdapterMixin`. One adapter is active at a time, or none (the base model, bit
for bit). Names are free text; peft wants no dots in them, so a dot becomes an underscore inside.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from engine.errors import FamilyError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
PREFIXES = ("transformer.", "unet.")  # what LoRA files made for whole pipelines put before each key
_READ: WeakKeyDictionary[Any, dict[str, tuple[str, int, int]]] = WeakKeyDictionary()
"""By network and adapter, which file it was read from, and its age and size then."""


def use_adapter(network: Any, name: str | None, folder: Path | None = None) -> None:
    """Make `name` the one active adapter (None: the base model), reading it from `folder` unless it is loaded already;
    if what lies there now is not what was read before, it is read again.

    Raises FamilyError when there is no such folder or its weights do not fit; the network is then as it was before.
    """
    if name is None:
        if loaded_adapters(network):
            network.disable_adapters()
        return
    if folder is not None and _inner(name) in loaded_adapters(network) and _was_replaced(network, name, folder):
        _fitting(network, name, folder)
        unload_adapter(network, name)
    if _inner(name) not in loaded_adapters(network):
        if folder is None:
            raise FamilyError(f"Adapter '{name}' is not loaded: say which folder holds it.")
        load_adapter(network, name, folder)
    network.set_adapters(_inner(name))
    network.enable_adapters()


def load_adapter(network: Any, name: str, folder: Path) -> None:
    """Read an adapter onto the network and make it the active one. On failure: FamilyError, and nothing has changed."""
    if _inner(name) in loaded_adapters(network):
        raise FamilyError(f"Adapter '{name}' is loaded already: unload it first.")
    weights, metadata = _fitting(network, name, folder)
    with warnings.catch_warnings():  # having several adapters is meant, no accident to warn of
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        network.load_lora_adapter(weights, prefix=None, adapter_name=_inner(name), metadata=metadata)
    network.set_adapters(_inner(name))
    network.enable_adapters()
    network.eval()
    _READ.setdefault(network, {})[_inner(name)] = _state_of(folder)


def unload_adapter(network: Any, name: str) -> None:
    """Take an adapter off the network and free its weights; what remains loaded is switched off."""
    if _inner(name) not in loaded_adapters(network):
        raise FamilyError(f"Adapter '{name}' is not loaded.")
    others = [other for other in loaded_adapters(network) if other != _inner(name)]
    if others:
        network.set_adapters(others[0])
    network.delete_adapters(_inner(name))
    _READ.get(network, {}).pop(_inner(name), None)
    if others:
        network.disable_adapters()


def save_adapter(network: Any, name: str, folder: Path) -> None:
    """Write an adapter as `folder/pytorch_lora_weights.safetensors`, with its LoRA settings in the file's header."""
    network.save_lora_adapter(folder, adapter_name=_inner(name), weight_name=WEIGHTS_FILE)


def write_adapter(network: Any, name: str, folder: Path, weights: "Mapping[str, Tensor]") -> None:
    """The same file, of `weights` by their names in the network: for a network whose own lie in shards."""
    import json

    from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    layers = get_peft_model_state_dict(network, state_dict=dict(weights), adapter_name=_inner(name))
    settings = network.peft_config[_inner(name)].to_dict()
    plain = {key: list(value) if isinstance(value, set) else value for key, value in settings.items()}
    header = {"format": "pt", LORA_ADAPTER_METADATA_KEY: json.dumps(plain, indent=2, sort_keys=True)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: layer.contiguous() for key, layer in layers.items()}, folder / WEIGHTS_FILE, metadata=header)


def loaded_adapters(network: Any) -> list[str]:
    """Names of the adapters on the network (dots as underscores), active or not."""
    return list(getattr(network, "peft_config", {}))


def is_active(network: Any, name: str | None) -> bool:
    """Whether the network runs with exactly this adapter; None asks for the bare base model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    active = {
        key
        for module in network.modules()
        if isinstance(module, BaseTunerLayer) and not module.disable_adapters
        for key in module.active_adapters
        if key in loaded_adapters(network)
    }
    return active == (set() if name is None else {_inner(name)})


def misfits(network: Any, weights: "Mapping[str, Tensor]") -> list[str]:
    """What of an adapter does not fit the network, a phrase each: unknown layers, wrong sizes, damaged tensors, and
    layers of which one of the two tensors is missing or has another rank than its partner.
    """
    layers = {name.replace(".base_layer", ""): module for name, module in network.named_modules()}
    problems, faulty = [], set()
    pairs: dict[str, dict[str, str]] = {}
    for key, tensor in weights.items():
        layer, _, side = key.removesuffix(".weight").rpartition(".lora_")
        weight = getattr(layers.get(layer), "weight", None)
        problem = _misfit(tensor, side, weight)
        if problem:
            problems.append(f"'{key}' {problem}")
            faulty.add(layer)
        pairs.setdefault(layer, {})[side] = key
    whole = {layer: sides for layer, sides in pairs.items() if layer not in faulty}
    return problems + [problem for sides in whole.values() if (problem := _unpaired(weights, sides))]


def _misfit(tensor: "Tensor", side: str, weight: "Tensor | None") -> str | None:
    """What is wrong with one tensor of an adapter, beside the `weight` of its layer."""
    if side not in ("A", "B") or weight is None or weight.ndim < 2:
        return "has no layer here"
    if tensor.ndim != weight.ndim:
        return f"has {tensor.ndim} dimensions, the layer has {weight.ndim}"
    got, needed = (tensor.shape[1], weight.shape[1]) if side == "A" else (tensor.shape[0], weight.shape[0])
    if got != needed:
        return f"is for size {got}, the layer has {needed}"
    return None if tensor.isfinite().all() else "holds NaN or infinity"


def _unpaired(weights: "Mapping[str, Tensor]", sides: Mapping[str, str]) -> str | None:
    """What is wrong between a layer's two tensors, given the key of each side: peft fills in a missing one by itself,
    lora_A at random.
    """
    if len(sides) < 2:
        ((side, key),) = sides.items()
        return f"'{key}' has no lora_{'B' if side == 'A' else 'A'} beside it"
    rank_a, rank_b = weights[sides["A"]].shape[0], weights[sides["B"]].shape[1]
    if rank_a != rank_b:
        return f"'{sides['A']}' has rank {rank_a}, but '{sides['B']}' has {rank_b}"
    return None


def _fitting(network: Any, name: str, folder: Path) -> "tuple[dict[str, Tensor], dict[str, Any] | None]":
    """The folder's tensors and LoRA settings. Raises FamilyError when they are not to be had or do not fit."""
    weights, metadata = _read(folder)
    problems = misfits(network, weights)
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise FamilyError(
            f"Adapter '{name}' does not fit this model: {shown}. Choose an adapter trained on this model."
        )
    return weights, metadata


def _was_replaced(network: Any, name: str, folder: Path) -> bool:
    """Whether another file lies there than the one that was read."""
    return _READ.get(network, {}).get(_inner(name)) != _state_of(folder)


def _file_in(folder: Path) -> Path:
    """Raises FamilyError when there is not just one that it can be."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    file = folder / WEIGHTS_FILE if (folder / WEIGHTS_FILE).is_file() else next(iter(files), None)
    if file is None or (len(files) > 1 and file.name != WEIGHTS_FILE):
        raise FamilyError(f"'{folder}' holds {len(files)} safetensors files: an adapter's folder needs {WEIGHTS_FILE}.")
    return file


def _state_of(folder: Path) -> tuple[str, int, int]:
    file = _file_in(folder)
    found = file.stat()
    return str(file), found.st_mtime_ns, found.st_size


def _read(folder: Path) -> "tuple[dict[str, Tensor], dict[str, Any] | None]":
    """The tensors of an adapter folder, keys without the pipeline's prefix, and its LoRA settings if it has any."""
    import json

    from safetensors import SafetensorError, safe_open

    file = _file_in(folder)
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {_bare(key): opened.get_tensor(key) for key in opened.keys()}
            header = (opened.metadata() or {}).get("lora_adapter_metadata")
    except (OSError, SafetensorError) as error:
        raise FamilyError(f"'{file}' cannot be read ({error}): train or copy the adapter again.") from error
    if not weights:
        raise FamilyError(f"'{file}' holds no tensors: train or copy the adapter again.")
    settings = json.loads(header) if header else None
    return weights, {_bare(key): value for key, value in settings.items()} if settings else None


def _bare(key: str) -> str:
    """A key as the network names it, without the pipeline's prefix."""
    return key.removeprefix(next((prefix for prefix in PREFIXES if key.startswith(prefix)), ""))


def _inner(name: str) -> str:
    return name.replace(".", "_")
