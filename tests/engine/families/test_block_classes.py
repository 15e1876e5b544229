"""The classes that a family names as blocks are those of its real networks: what FSDP gathers at a time, and what is
recomputed at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from engine.seeds import generator_for
from engine.training.distributed.sharding import Sharding, check_sharded, shard
from engine.training.gradient_checkpointing import set_block_checkpointing
from engine.training.weights import local, setup_lora, trainable

# torch warns whoever might write into a view that a network returned; here it is read.
pytestmark = pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning")


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


def predicted(family: Any, model: Any) -> torch.Tensor:
    """Of two clips, one at high noise and one at low."""
    request = model.request
    latents = family.init_latents(request, [generator_for(seed) for seed in (3, 4)])
    given = family.encode_pictures(model.pictures(2), model.places, request.num_frames) if model.places else {}
    words = family.encode(["a red circle", "the blue star"])
    told = replace(words, fps=request.fps, guidance=1.0, extras={**(words.extras or {}), **given})
    return family.predict(latents, torch.tensor([0.95, 0.1]), told)


@pytest.fixture
def group_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def learnt(tiny: SimpleNamespace, *, sharded: bool, recomputed: bool = False) -> tuple[torch.Tensor, dict[str, Any]]:
    """What a LoRA's network predicts, and its gradients."""
    family = tiny.open()
    network, spec = family.network, family.spec
    setup_lora(network, spec.lora_targets, rank=2, alpha=None, seed=0)
    set_block_checkpointing(network, spec.block_classes, on=recomputed)
    if sharded:
        shard(network, spec.block_classes, Sharding(), torch.device("cpu"))
        check_sharded(network)
    output = predicted(family, tiny.model)
    output.square().mean().backward()
    return output.detach(), {name: local(p.grad) for name, p in trainable(network) if p.grad is not None}


@pytest.mark.parametrize("tiny", ["wan", "animatediff"], indirect=True)
def test_shards_are_gathered_again_for_blocks_that_are_recomputed(tiny: SimpleNamespace, group_of_one: None) -> None:
    (_, its), (_, theirs) = learnt(tiny, sharded=False), learnt(tiny, sharded=True, recomputed=True)
    assert its.keys() == theirs.keys() and its
    for name, gradient in its.items():
        assert (theirs[name] - gradient).norm() <= 5e-5 * gradient.norm() + 1e-9, name


def test_a_network_in_shards_predicts_and_learns_the_same(tiny: SimpleNamespace, group_of_one: None) -> None:
    """Each family's real network, gathered block by block. Mostly to the bit; where gathered weights begin at another
    place in memory than whole ones, a kernel may sum in another order: up to 7e-7 was seen."""
    found = [learnt(tiny, sharded=False), learnt(tiny, sharded=True)]
    (plain, its), (parted, theirs) = found
    assert its.keys() == theirs.keys() and its
    assert (plain - parted).norm() <= 5e-6 * plain.norm()
    whole = torch.cat([gradient.flatten() for gradient in its.values()])
    difference = whole - torch.cat([theirs[name].flatten() for name in its])
    assert difference.norm() <= 5e-6 * whole.norm()


def gradients_of(family: Any, model: Any) -> dict[str, torch.Tensor]:
    for parameter in family.network.parameters():
        parameter.grad = None
    predicted(family, model).square().mean().backward()
    return {name: p.grad.clone() for name, p in trainable(family.network) if p.grad is not None}


def count_calls(network: Any, classes: tuple[str, ...]) -> Counter[str]:
    """How often each block begins its forward pass, from now on."""
    calls: Counter[str] = Counter()

    def counted(name: str, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        calls[name] += 1
        return forward(*args, **named)

    for name, block in network.named_modules():
        if type(block).__name__ in classes:
            block.forward = partial(counted, name, block.forward)
    return calls


@pytest.mark.parametrize("rank", [0, 2])
def test_every_block_is_recomputed_to_the_same_gradient(tiny: SimpleNamespace, rank: int) -> None:
    """Of a LoRA's network every block that holds a part of it; the first ones may have nothing to learn."""
    family = tiny.open()
    network, classes = family.network, family.spec.block_classes
    setup_lora(network, family.spec.lora_targets, rank=rank, alpha=None, seed=0)
    calls = count_calls(network, classes)
    plain = gradients_of(family, tiny.model)
    once = Counter(calls)

    set_block_checkpointing(network, classes, on=True)
    set_block_checkpointing(network, classes, on=True)  # as a second trainer of the same model does
    calls.clear()
    found = gradients_of(family, tiny.model)
    learning = [name for name in once if any(p.requires_grad for p in network.get_submodule(name).parameters())]
    assert learning
    assert {name: calls[name] for name in learning} == {name: 2 * once[name] for name in learning}
    assert all(once[name] <= calls[name] <= 2 * once[name] for name in once)
    assert found.keys() == plain.keys() and plain
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, msg=name)

    calls.clear()
    with torch.no_grad():
        predicted(family, tiny.model)
    assert calls == once

    set_block_checkpointing(network, classes, on=False)
    calls.clear()
    gradients_of(family, tiny.model)
    assert calls == once
