"""LoRA on any family's network: load, switch, unload, save. How an adapter lies on disk: `adapter_files`.

A network is a diffusers model with `PeftAdapterMixin`. One adapter is active at a time, or none (the base model, bit
for bit). Names are free text; peft wants no dots in them, so a dot becomes an underscore inside.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from engine.errors import FamilyError
from engine.families.lora_files import (
    BARE,
    FIRST,
    SECOND,
    UNET,
    WEIGHTS_FILE,
    Lora,
    for_pipeline,
    read_parts,
    state_of,
    write_parts,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WEIGHTS_FILE"]

_READ: WeakKeyDictionary[Any, dict[str, tuple[tuple[str, int, int], ...]]] = WeakKeyDictionary()
"""By network and adapter: `state_of` its folder when it was read."""


def activate_adapter(network: Any, name: str | None, folder: Path | None = None) -> None:
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
    lora = _fitting(network, name, folder)
    with warnings.catch_warnings():  # having several adapters is meant, no accident to warn of
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        network.load_lora_adapter(dict(lora.tensors), prefix=None, adapter_name=_inner(name), metadata=lora.settings())
    network.set_adapters(_inner(name))
    network.enable_adapters()
    network.eval()
    _READ.setdefault(network, {})[_inner(name)] = state_of(folder)


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
    """Write an adapter in the form that diffusers' `load_lora_weights` reads, rank and alpha in the file's header."""
    write_adapter(network, name, folder, None)


def write_adapter(network: Any, name: str, folder: Path, weights: "Mapping[str, Tensor] | None") -> None:
    """The same, of `weights` by their names in the network: for a network whose own lie in shards."""
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
    """What diffusers' pipelines call a network of this class."""
    from diffusers.loaders import UNet2DConditionLoadersMixin

    return UNET if isinstance(network, UNet2DConditionLoadersMixin) else FIRST


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


def find_mismatches(network: Any, weights: "Mapping[str, Tensor]") -> list[str]:
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


def _fitting(network: Any, name: str, folder: Path) -> Lora:
    """The folder's layers by their names in the network. Raises FamilyError when it cannot be read or does not fit."""
    lora = named_as_in(network, read_parts(folder))
    problems = find_mismatches(network, lora.tensors)
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise FamilyError(
            f"Adapter '{name}' does not fit this model: {shown}. Choose an adapter trained on this model."
        )
    return lora


def named_as_in(network: Any, parts: Mapping[str, Lora]) -> Lora:
    """All layers by their names in our network, where two experts are one. Raises FamilyError for a second expert's
    layers where there is one network.
    """
    experts: Mapping[str, str] = getattr(network, "experts", {})
    if SECOND in parts and not experts:
        raise FamilyError(
            "The adapter has layers for a second expert (transformer_2), but this model has one network: use it on the "
            "model of two experts that it was trained on."
        )
    prefixes = {part: f"{expert}." for expert, part in experts.items()}
    lora = Lora(tensors={}, alphas={})
    for part, some in parts.items():
        lora = lora.joined(some.below(prefixes.get(part, "")))
    return lora


def _was_replaced(network: Any, name: str, folder: Path) -> bool:
    """Whether other files lie there than those that were read."""
    return _READ.get(network, {}).get(_inner(name)) != state_of(folder)


def _inner(name: str) -> str:
    return name.replace(".", "_")
