"""LoRA on any family's network: load, switch, unload, save.

`lora_files` describes the files of an adapter.

A network is a diffusers model with `PeftAdapterMixin`. Some of its adapters are active, each with a scale, or none (the
base model, bit for bit). Names are free text; peft does not allow dots in names, so a dot becomes an underscore
internally.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from engine.errors import FamilyError
from engine.families.lora_files import (
    BARE,
    FIRST_NETWORK,
    SECOND_NETWORK,
    UNET,
    Lora,
    for_pipeline,
    read_parts,
    state_of,
    write_parts,
)
from engine.hardware.weight_storage import refresh_offloading, restore_adapter

if TYPE_CHECKING:
    from torch import Tensor

_READ: WeakKeyDictionary[Any, dict[str, tuple[tuple[str, int, int], ...]]] = WeakKeyDictionary()
"""By network and adapter: the value of `state_of` for its folder when it was read."""


def activate_adapter(network: Any, name: str | None, folder: Path | None = None) -> None:
    """Make `name` the only active adapter (None: the base model), see `activate_adapters`."""
    scales = {} if name is None else {name: 1.0}
    activate_adapters(network, scales, {} if name is None or folder is None else {name: folder})


def activate_adapters(network: Any, scales: Mapping[str, float], folders: Mapping[str, Path]) -> None:
    """Make these the active adapters, each multiplied by its scale; none: the base model.

    An adapter that is not loaded, or whose files have changed since, is read from its folder. Raises FamilyError when a
    folder is missing or its weights do not fit; the network is then unchanged.
    """
    if not scales:
        if loaded_adapters(network):
            network.disable_adapters()
        return
    new = {}
    for name in scales:
        is_loaded = _inner(name) in loaded_adapters(network)
        if not is_loaded and name not in folders:
            raise FamilyError(f"Adapter '{name}' is not loaded: pass the folder that holds it.")
        if not is_loaded or (name in folders and _was_replaced(network, name, folders[name])):
            new[name] = _fitting(network, name, folders[name])
    for name, lora in new.items():
        if _inner(name) in loaded_adapters(network):
            unload_adapter(network, name)
        _add(network, name, lora, folders[name])
    network.set_adapters([_inner(name) for name in scales], list(scales.values()))
    network.enable_adapters()


def load_adapter(network: Any, name: str, folder: Path, *, to_train: bool = False) -> None:
    """Load an adapter into the network and activate it. Raises FamilyError; the network is then unchanged.

    Its weights get the network's dtype, or with `to_train` float32, so that training begins with those of the file.
    """
    if _inner(name) in loaded_adapters(network):
        raise FamilyError(f"Adapter '{name}' is loaded already: unload it first.")
    lora = _fitting(network, name, folder)
    _add(network, name, lora, folder)
    if to_train:
        own = dict(network.named_parameters())
        for key, tensor in lora.tensors.items():
            weight = own[f"{key.removesuffix('.weight')}.{_inner(name)}.weight"]
            weight.data = tensor.to(weight.device, copy=True).float()
    network.set_adapters(_inner(name))
    network.enable_adapters()


@contextmanager
def several_adapters() -> Iterator[None]:
    """Add a further adapter in the block, without peft's warnings of several ones or of int8."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated")  # we merge in files only
        yield


def _add(network: Any, name: str, lora: Lora, folder: Path) -> None:
    """Put the layers on the network."""
    with several_adapters():
        network.load_lora_adapter(dict(lora.tensors), prefix=None, adapter_name=_inner(name), metadata=lora.settings())
    restore_adapter(network, _inner(name), lora.tensors)
    refresh_offloading(network)
    network.eval()
    _READ.setdefault(network, {})[_inner(name)] = state_of(folder)


def unload_adapter(network: Any, name: str) -> None:
    """Remove an adapter from the network and free its weights; adapters that remain loaded are disabled."""
    from diffusers.utils.peft_utils import delete_adapter_layers

    if _inner(name) not in loaded_adapters(network):
        raise FamilyError(f"Adapter '{name}' is not loaded.")
    others = [adapter for adapter in loaded_adapters(network) if adapter != _inner(name)]
    if others:
        network.set_adapters(others[0])
    delete_adapter_layers(network, _inner(name))  # without the network's own offloading, which ignores experts
    getattr(network, "peft_config", {}).pop(_inner(name), None)
    refresh_offloading(network)
    _READ.get(network, {}).pop(_inner(name), None)
    if others:
        network.disable_adapters()


def save_adapter(network: Any, name: str, folder: Path) -> None:
    """Write an adapter in the format of diffusers' `load_lora_weights`, with rank and alpha."""
    write_adapter(network, name, folder, None)


def write_adapter(network: Any, name: str, folder: Path, weights: "Mapping[str, Tensor] | None") -> None:
    """Like `save_adapter`, with `weights` by their names in the network; None: the network's own.

    For a network with sharded weights.
    """
    from peft.tuners.lora import LoraLayer
    from peft.utils import get_peft_model_state_dict

    state = None if weights is None else dict(weights)
    tensors = get_peft_model_state_dict(network, state_dict=state, adapter_name=_inner(name))
    lora = Lora(tensors=tensors, alphas={})
    alphas = {
        layer: module.scaling[_inner(name)] * lora.ranks[layer]
        for layer, module in network.named_modules()
        if isinstance(module, LoraLayer) and layer in lora.ranks
    }
    whole = Lora(tensors={key: tensor.detach() for key, tensor in tensors.items()}, alphas=alphas)
    write_parts(folder, for_pipeline({BARE: whole}, pipeline_part(network)))


def pipeline_part(network: Any) -> str:
    """Return the name of a network of this class in diffusers' pipelines."""
    from diffusers.loaders import UNet2DConditionLoadersMixin

    return UNET if isinstance(network, UNet2DConditionLoadersMixin) else FIRST_NETWORK


def loaded_adapters(network: Any) -> list[str]:
    """Return the names of the adapters on the network (dots as underscores), active or not."""
    return list(getattr(network, "peft_config", {}))


def is_active(network: Any, scales: Mapping[str, float]) -> bool:
    """Return True when exactly these adapters are active, at these scales; {} stands for the base model."""
    from peft.tuners.lora import LoraLayer

    layers = [layer for layer in network.modules() if isinstance(layer, LoraLayer)]
    active = {
        (name, round(layer.scaling[name] * layer.r[name] / layer.lora_alpha[name], 6))
        for layer in layers
        if not layer.disable_adapters
        for name in layer.active_adapters
        if name in layer.scaling
    }
    return active == {(_inner(name), round(scale, 6)) for name, scale in scales.items()}


def find_mismatches(network: Any, weights: "Mapping[str, Tensor]") -> list[str]:
    """Return a phrase for each problem of an adapter with the network.

    Problems are unknown layers, wrong sizes, damaged tensors, and layers with one tensor missing or two different
    ranks.
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
    """Return the problem of one tensor of an adapter, given the `weight` of its layer; None without one."""
    if side not in ("A", "B") or weight is None or weight.ndim < 2:
        return "has no layer here"
    if tensor.ndim != weight.ndim:
        return f"has {tensor.ndim} dimensions, the layer has {weight.ndim}"
    got, needed = (tensor.shape[1], weight.shape[1]) if side == "A" else (tensor.shape[0], weight.shape[0])
    if got != needed:
        return f"is for size {got}, the layer has {needed}"
    return None if tensor.isfinite().all() else "holds NaN or infinity"


def _unpaired(weights: "Mapping[str, Tensor]", sides: Mapping[str, str]) -> str | None:
    """Return the problem of a layer's two tensors, given the key of each side; None without one.

    A missing tensor must be reported because peft fills it in silently, lora_A at random.
    """
    if len(sides) < 2:
        ((side, key),) = sides.items()
        return f"'{key}' has no lora_{'B' if side == 'A' else 'A'}"
    rank_a, rank_b = weights[sides["A"]].shape[0], weights[sides["B"]].shape[1]
    if rank_a != rank_b:
        return f"'{sides['A']}' has rank {rank_a}, but '{sides['B']}' has {rank_b}"
    return None


def _fitting(network: Any, name: str, folder: Path) -> Lora:
    """Return the folder's layers by their names in the network.

    Raises FamilyError when they cannot be read or do not fit.
    """
    lora = named_as_in(network, read_parts(folder))
    problems = find_mismatches(network, lora.tensors)
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise FamilyError(
            f"Adapter '{name}' does not fit this model: {shown}. Choose an adapter trained on this model."
        )
    return lora


def named_as_in(network: Any, parts: Mapping[str, Lora]) -> Lora:
    """Return all layers by their names in our network, which combines two experts.

    Raises FamilyError for layers of a second expert when the model has one network.
    """
    experts: Mapping[str, str] = getattr(network, "experts", {})
    if SECOND_NETWORK in parts and not experts:
        raise FamilyError(
            "The adapter has layers for a second expert (transformer_2), but this model has one network: use it on the "
            "model of two experts that it was trained on."
        )
    prefixes = {part: f"{expert}." for expert, part in experts.items()}
    lora = Lora(tensors={}, alphas={})
    for part, layers in parts.items():
        lora = lora.merged(layers.below(prefixes.get(part, "")))
    return lora


def _was_replaced(network: Any, name: str, folder: Path) -> bool:
    """Return True when the adapter's files have changed since they were read."""

    return _READ.get(network, {}).get(_inner(name)) != state_of(folder)


def _inner(name: str) -> str:
    return name.replace(".", "_")
