"""The classes that a family names as blocks are those of its real networks: what FSDP gathers at a time."""

from types import SimpleNamespace


def test_blocks_are_found_and_lie_in_no_other(tiny_open: SimpleNamespace) -> None:
    family = tiny_open.family
    blocks = {n: m for n, m in family.network.named_modules() if type(m).__name__ in family.spec.block_classes}
    assert blocks
    assert not [name for name in blocks for other in blocks if name.startswith(f"{other}.")]


def test_adapters_train_blocks_alone(tiny_open: SimpleNamespace) -> None:
    """Whatever is outside them is gathered for the whole pass: it must not be what a LoRA trains."""
    family = tiny_open.family
    blocks = tuple(n for n, m in family.network.named_modules() if type(m).__name__ in family.spec.block_classes)
    targets = [
        n for n, _ in family.network.named_modules() if n.endswith(tuple(f".{t}" for t in family.spec.lora_targets))
    ]
    outside = [name for name in targets if not name.startswith(tuple(f"{block}." for block in blocks))]
    assert targets
    assert outside == []
