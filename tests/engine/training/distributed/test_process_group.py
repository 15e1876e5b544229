"""Two processes over gloo: the same update as one process, with or without shards, and resuming."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import TrainingError
from engine.families.lora import save_adapter
from engine.training.distributed.checkpoint import load_weights
from engine.training.weights import ADAPTER, setup_lora

from .ranks import ACCELERATE_FSDP, DPO, FLOAT32_SUMS, PLAIN_STEPS, difference, job, launch, run_here, told, weights

# Each launch takes some 20 s; on a machine that has much else to do, many times that. Short form: test_two_ranks.py.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GRPO = {"kind": "grpo", "settings": {**PLAIN_STEPS, "learning_rate": 1.0, "beta": 0.01}}
NFT = {"kind": "nft", "settings": {**PLAIN_STEPS, "learning_rate": 1.0, "beta": 0.01}}
DISTIL = {
    "kind": "distill",
    "settings": {"per_device_train_batch_size": 2, "rollout_clips": 2, "num_steps": 4, "student_steps": 2},
}
WHOLE = {"kind": "dpo", "settings": {**PLAIN_STEPS, "lora_rank": 0, "learning_rate": 1e-4}}
CAREFUL = {
    "kind": "dpo",
    "settings": {
        "learning_rate": 1e-2,
        "ema_decay": 0.5,
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 3,  # within the second epoch
    },
}
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
NEAR_ZERO = 5e-3
"""The toy Wan's VAE hardly tells the clips of a pair apart: the gradient is the difference of two that nearly cancel,
and keeps 1e-3 of their sums' errors. What is forgotten on one process shows as 0.1 and more."""


def online(preset: dict[str, Any], out: Path, model: Path, size: int) -> dict[str, Any]:
    """One group of eight clips, which two processes share, and two updates by it.

    New clips would be rounded to 8 bits again, which can differ in a bit.
    """
    return job(preset, out, model, size, settings={"num_generations": 8, "num_iterations": 2, "rollout_batch": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def wan(
    folder: Path, root: Path, fill_weights: Callable[[Any, int], None], write_tokenizer: Any
) -> Callable[[str], Path]:
    """Folders of Wan at toy size: "wan", and "wan_experts" with two networks by noise level."""
    from transformers import PreTrainedTokenizerFast

    place = root / "tests" / "engine" / "families" / "toys"
    spec = importlib.util.spec_from_file_location(
        "toys_of_training", place / "__init__.py", submodule_search_locations=[str(place)]
    )
    assert spec is not None and spec.loader is not None
    toys = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toys)
    write_tokenizer(folder / "words")

    def fill(network: Any, seed: int) -> Any:
        fill_weights(network, seed)
        return network.eval()

    kit = toys.Kit(fill=fill, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder / "words"))
    for key in ("wan", "wan_experts"):
        toys.MODELS[key].build(kit).save_pretrained(folder / key)
    return folder.joinpath


@pytest.fixture(scope="module")
def alone(folder: Path, tiny_folder: Path, wan: Callable[[str], Path]) -> Path:
    """One process with the whole batch."""
    out = folder / "alone"
    jobs = [job(DPO, out / "dpo", tiny_folder, 4), online(GRPO, out / "grpo", tiny_folder, 8)]
    jobs.append(job(CAREFUL, out / "careful", tiny_folder, 4))
    jobs.append(job(DPO, out / "experts", wan("wan_experts"), 4, family="wan"))
    jobs.append(job(WHOLE, out / "whole", tiny_folder, 4))
    run_here(jobs)
    return out


@pytest.fixture(scope="module")
def copies(folder: Path, tiny_folder: Path, wan: Callable[[str], Path], python: str, alone: Path) -> Path:
    """Two processes, each with the whole network."""
    out = folder / "copies"
    jobs = [job(DPO, out / "dpo", tiny_folder, 2), online(GRPO, out / "grpo", tiny_folder, 4)]
    jobs += [online(NFT, out / "nft", tiny_folder, 4), job(DISTIL, out / "distil", tiny_folder)]
    jobs += [job(CAREFUL, out / "careful", tiny_folder, 2)]
    jobs += [job(CAREFUL, out / "again", tiny_folder, 2, resume=str(out / "careful" / "checkpoint-3"))]
    jobs += [job(DPO, out / "experts", wan("wan_experts"), 2, family="wan")]
    jobs += [job(DPO, out / "bfloat16", wan("wan"), 2, family="wan", dtype="bfloat16")]
    launch(jobs, out, python)
    return out


@pytest.fixture(scope="module")
def shards(folder: Path, tiny_folder: Path, wan: Callable[[str], Path], python: str, alone: Path) -> Path:
    """Two processes, each with a shard of every tensor."""
    out = folder / "shards"
    jobs = [job(DPO, out / "dpo", tiny_folder, 2), online(GRPO, out / "grpo", tiny_folder, 4)]
    jobs += [online(NFT, out / "nft", tiny_folder, 4), job(WHOLE, out / "whole", tiny_folder, 2)]
    jobs += [job(CAREFUL, out / "careful", tiny_folder, 2)]
    jobs += [job(CAREFUL, out / "again", tiny_folder, 2, resume=str(out / "careful" / "checkpoint-3"))]
    jobs += [job(CAREFUL, out / "from-one", tiny_folder, 2, resume=str(alone / "careful" / "checkpoint-3"))]
    jobs += [job(DPO, out / "experts", wan("wan_experts"), 2, family="wan")]
    jobs += [job(DPO, out / "bfloat16", wan("wan"), 2, family="wan", dtype="bfloat16")]
    launch(jobs, out, python, **ACCELERATE_FSDP)
    return out


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["dpo", "grpo"])
@pytest.mark.parametrize("how", ["copies", "shards"])
def test_two_processes_make_the_update_of_one_with_the_whole_batch(
    how: str, kind: str, alone: Path, request: pytest.FixtureRequest
) -> None:
    two = request.getfixturevalue(how)
    assert [one["world"] for one in told(two / kind)] == [2, 2]
    assert [one["sharded"] for one in told(two / kind)] == [how == "shards"] * 2
    assert difference(alone / kind, two / kind) <= FLOAT32_SUMS


@pytest.mark.parametrize("what", ["nft", "bfloat16"])
def test_shards_make_the_update_of_copies(what: str, copies: Path, shards: Path) -> None:
    """Also under a network in bfloat16, whose adapters and some of whose layers are float32."""
    assert difference(copies / what, shards / what) <= FLOAT32_SUMS


def test_a_whole_network_learns_in_shards_as_in_one_piece(
    alone: Path, shards: Path, open_tiny: Callable[[], Any]
) -> None:
    """With full training, the reference weights use the same modules: no gathered weights may remain."""
    base = {name: tensor.detach() for name, tensor in open_tiny().network.named_parameters()}
    one, other = (weights(run / "whole") for run in (alone, shards))
    change = torch.cat([(one[name] - base[name]).flatten() for name in base])
    difference = torch.cat([(one[name] - other[name]).flatten() for name in base])
    assert change.norm() > 0
    assert difference.norm() <= 1e-5 * change.norm(), "of weights that have 24 bits, a change has fewer"


def test_experts_that_take_turns_by_the_noise_level(alone: Path, copies: Path, shards: Path) -> None:
    """With copies, each process uses the experts for its own noise levels.

    With shards, all processes must use the same experts at once; otherwise they would deadlock.
    """
    assert difference(alone / "experts", copies / "experts") <= NEAR_ZERO
    assert difference(shards / "experts", copies / "experts") > 0.1


def test_a_group_over_two_processes_is_one_group(alone: Path, copies: Path) -> None:
    """The clips of both, by prompt and seed, are those of the one process, and no clip is made twice."""
    [whole], halves = told(alone / "grpo"), told(copies / "grpo")
    assert [len(half["clips"]) for half in halves] == [4, 4]
    assert halves[0]["clips"] + halves[1]["clips"] == whole["clips"]
    assert len({seed for _, seed in whole["clips"]}) == 8
    assert {prompt for prompt, _ in whole["clips"]} == {whole["clips"][0][0]}


def test_prompts_of_a_lesson_are_dealt_out(copies: Path) -> None:
    first, second = (set(map(tuple, one["clips"])) for one in told(copies / "distil"))
    assert len(first) == len(second) == 2
    assert not first & second


def test_what_is_logged_is_of_all_processes(alone: Path, copies: Path) -> None:
    names = ("loss", "reward", "reward_std", "rewards/brightness/mean")
    [one, two] = [json.loads((run / "grpo" / "log.json").read_text())[0] for run in (alone, copies)]
    assert [two[name] for name in names] == pytest.approx([one[name] for name in names], rel=1e-4, abs=1e-7)
    [one, two] = [json.loads((run / "dpo" / "log.json").read_text())[1] for run in (alone, copies)]
    names = ("loss", "rewards/chosen", "rewards/margins", "error/chosen")
    assert [two[name] for name in names] == pytest.approx([one[name] for name in names], rel=1e-4)


# ---------------------------------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("how", ["copies", "shards"])
def test_a_checkpoint_is_gone_on_with_bit_for_bit(how: str, request: pytest.FixtureRequest) -> None:
    """In the middle of an epoch, with Adam's moments and the average."""
    two = request.getfixturevalue(how)
    assert same(weights(two / "careful"), weights(two / "again"))
    assert same(load_file(adapter(two / "careful")), load_file(adapter(two / "again")))
    assert not same(load_file(adapter(two / "careful")), load_file(adapter(two / "careful" / "checkpoint-3", "")))


def adapter(run: Path, part: str = "exported") -> Path:
    return run / part / "pytorch_lora_weights.safetensors"


def test_an_adapter_from_shards_is_the_whole_state(
    shards: Path, tiny_folder: Path, open_tiny: Callable[[], Any]
) -> None:
    """Its file is what a network in one piece would have written, header included."""
    network = open_tiny().network
    setup_lora(network, TARGETS, rank=4, alpha=None, seed=0)
    network.load_state_dict(weights(shards / "dpo"), strict=False)
    save_adapter(network, ADAPTER, shards / "plain")
    assert same(load_file(adapter(shards / "dpo")), load_file(adapter(shards, "plain")))
    with safe_open(adapter(shards / "dpo"), "pt") as one, safe_open(adapter(shards, "plain"), "pt") as other:
        assert settings_of(one) == settings_of(other)


def settings_of(file: Any) -> dict[str, Any]:
    settings = json.loads(file.metadata()["lora_adapter_metadata"])
    return {key: sorted(value) if isinstance(value, list) else value for key, value in settings.items()}


def test_a_whole_network_from_shards_opens_like_any_other(shards: Path) -> None:
    from diffusers import LTXVideoTransformer3DModel

    network = LTXVideoTransformer3DModel.from_pretrained(shards / "whole" / "exported")
    assert same({name: tensor.detach() for name, tensor in network.named_parameters()}, weights(shards / "whole"))


def test_shards_of_something_else_and_damaged_ones_are_refused(
    shards: Path, open_tiny: Callable[[], Any], tmp_path: Path
) -> None:
    def read(folder: Path, rank: int = 4) -> None:
        network = open_tiny().network
        setup_lora(network, TARGETS, rank=rank, alpha=None, seed=0)
        load_weights(folder, network, {})

    saved = shards / "careful" / "checkpoint-3" / "shards"
    read(saved)
    with pytest.raises(TrainingError, match=r"of another model or LoRA \(32 tensors differ"):
        read(saved, rank=2)
    for name, damage in (("__1_0.distcp", b"x"), ("__1_0.distcp", None), (".metadata", b"x"), (".metadata", None)):
        copy = tmp_path / f"{name}-{damage}"
        shutil.copytree(saved, copy)
        (copy / name).unlink() if damage is None else (copy / name).write_bytes(damage)
        with pytest.raises(TrainingError, match="cannot be read") as caught:
            read(copy)
        assert len(str(caught.value).splitlines()) == 1


def test_shards_go_on_from_one_process_and_one_process_from_shards(
    alone: Path, shards: Path, folder: Path, tiny_folder: Path
) -> None:
    """Adam's moments come along: the fourth step is the one that the other would have made."""
    resumed = job(CAREFUL, folder / "to-one", tiny_folder, 4, resume=str(shards / "careful" / "checkpoint-3"))
    run_here([resumed])
    for found, expected in ((folder / "to-one", shards / "careful"), (shards / "from-one", alone / "careful")):
        assert difference(expected, found) <= FLOAT32_SUMS
    assert [one["sharded"] for one in told(shards / "from-one")] == [True, True]
