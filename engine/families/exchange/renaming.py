"""Layers renamed from and to the names of other programs.

Some models' own code computes several of diffusers' layers at once ("fused" layers, such as q, k and v in one). Their
LoRAs become one of a block-diagonal B and the sum of the ranks, which is exact; in the other direction each layer gets
its rows of B and those columns that are not zero.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import FamilyError
from engine.families.lora_files import SIDES, Lora
from engine.family_interface import LayerNames

if TYPE_CHECKING:
    from torch import Tensor

Patterns = list[tuple[re.Pattern[str], str]]


def to_native(lora: Lora, names: LayerNames) -> Lora:
    """Return the layers by their names in the model's own code, fused ones as one.

    Raises FamilyError for a layer that has no name there.
    """
    native = _patterns(names.native)
    fused = _patterns({member for members in names.fused.values() for member in members})
    whole_of = {member: layer for layer, members in names.fused.items() for member in members}
    made, groups = Lora(tensors={}, alphas={}), dict[str, dict[str, Lora]]()
    for layer, one in _layers(lora):
        if found := _find(layer, native):
            made = made.merged(one.below(_filled(names.native[found[0]], found[1])))
        elif found := _find(layer, fused):
            member, numbers = found
            groups.setdefault(_filled(whole_of[member], numbers), {})[member] = one
        else:
            raise FamilyError(f"the layer '{layer}' has no name there")
    for layer, present in groups.items():
        members = next(own for own in names.fused.values() if own.keys() >= present.keys())
        made = made.merged(_fuse(present, members).below(layer))
    return made


def to_diffusers(file: Path, lora: Lora, names: LayerNames) -> Lora:
    """Return the layers by diffusers' names.

    They are given by these or by the model's own names, with dots or underscores. Names with dots that are unknown are
    kept. Raises FamilyError for unknown names with underscores, and for fused layers of another size.
    """
    native, fused, own = (_patterns(templates) for templates in (names.native.values(), names.fused, names.native))
    own_of = {other: layer for layer, other in names.native.items()}
    members = _patterns({member for members in names.fused.values() for member in members})
    made = Lora(tensors={}, alphas={})
    for layer, one in _layers(lora):
        if found := _find(layer, native):
            made = made.merged(one.below(_filled(own_of[found[0]], found[1])))
        elif found := _find(layer, fused):
            for member, part in _split(file, layer, one, names.fused[found[0]]):
                made = made.merged(part.below(_filled(member, found[1])))
        elif found := _find(layer, [*own, *members]):
            made = made.merged(one.below(_filled(*found)))
        elif "." in layer:
            made = made.merged(one.below(layer))
        else:
            raise FamilyError(
                f"'{file}' has the layer '{layer}', which this model does not have: choose another model."
            )
    return made


def _layers(lora: Lora) -> Iterator[tuple[str, Lora]]:
    """Yield every layer with its tensors and alpha under empty names."""
    sides: dict[str, dict[str, Tensor]] = {}
    for key, tensor in lora.tensors.items():
        side = next((side for side in SIDES if key.endswith(side)), "")
        sides.setdefault(key.removesuffix(side) if side else key, {})[side] = tensor
    for layer, tensors in sides.items():
        yield layer, Lora(tensors=tensors, alphas={"": lora.alphas[layer]} if layer in lora.alphas else {})


def _patterns(templates: Iterable[str]) -> Patterns:
    """Return templates with patterns of the names that they stand for, dots as underscores."""
    flat = ((template.replace(".", "_"), template) for template in templates)
    return [(re.compile(re.escape(name).replace(r"\*", r"(\d+)")), template) for name, template in flat]


def _find(layer: str, patterns: Patterns) -> tuple[str, tuple[str, ...]] | None:
    """Return the template of a layer's name and the numbers in it; None for none."""
    flat = layer.replace(".", "_")
    matches = ((pattern.fullmatch(flat), template) for pattern, template in patterns)
    return next(((template, match.groups()) for match, template in matches if match), None)


def _filled(template: str, numbers: Iterable[str]) -> str:
    for number in numbers:
        template = template.replace("*", number, 1)
    return template


def _fuse(present: Mapping[str, Lora], members: Mapping[str, int]) -> Lora:
    """Return one LoRA of the layer that holds `members` one below the other; absent ones add nothing."""
    import torch

    down = torch.cat([present[member].tensors[SIDES[0]] for member in members if member in present])
    rank, size = down.shape
    up = down.new_zeros(sum(members.values()) * size, rank)
    row, column = 0, 0
    for member, multiple in members.items():
        if member in present:
            lora = present[member]
            part, own = lora.tensors[SIDES[1]], lora.ranks[""]
            up[row : row + multiple * size, column : column + own] = part * (lora.alphas[""] / own)
            column += own
        row += multiple * size
    return Lora(tensors={SIDES[0]: down, SIDES[1]: up}, alphas={"": float(rank)})


def _split(file: Path, layer: str, lora: Lora, members: Mapping[str, int]) -> Iterator[tuple[str, Lora]]:
    """Yield the LoRA of each of a fused layer's members, without ranks that are zero there."""
    if lora.tensors.keys() != set(SIDES):
        raise FamilyError(f"'{file}': '{layer}' has only one of lora_A and lora_B: train or copy the adapter again.")
    down, up = (lora.tensors[side] for side in SIDES)
    sizes = [multiple * down.shape[-1] for multiple in members.values()]
    if len(up) != sum(sizes):
        raise FamilyError(
            f"'{file}': lora_B of '{layer}' has {len(up)} rows, but the layer has {sum(sizes)}: choose another model."
        )
    for member, part in zip(members, up.split(sizes), strict=True):
        used = part.ne(0).any(dim=0) if up.any() else up.new_ones(len(down)).bool()
        if used.any():
            alpha = lora.alphas[""] * int(used.sum()) / len(down)
            yield member, Lora(tensors={SIDES[0]: down[used], SIDES[1]: part[:, used]}, alphas={"": alpha})
