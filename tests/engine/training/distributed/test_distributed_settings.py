"""What is asked for when a run is launched on several processes: the launcher's files, and what cannot be done."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from engine.config.presets import load_train_preset
from engine.errors import ConfigError, TrainingError
from engine.estimation.run_estimate import forecast
from engine.files.atomic import replace_folder
from engine.training.distributed.sharding import Sharding, check_sharded, hide_fsdp_from_accelerate
from engine.training.trainer_settings import VideoDPOConfig
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.weights import setup_lora

FILES = {"fsdp_1x8": 8, "fsdp_nx8": 16, "replicated_1x8": 8}
MI300X_GIB = 192.0
ASKED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.fixture
def presets(root: Path) -> Path:
    return root / "presets" / "accelerate"


def environment_of(file: Path) -> dict[str, str]:
    """What accelerate itself would tell the processes."""
    arguments = ["--config_file", str(file), "--main_process_ip", "127.0.0.1", "-m", "engine.cli", "train", "x"]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    args.main_process_port = 0
    return prepare_multi_gpu_env(args)


def test_every_file_is_known_and_says_how_it_is_used(presets: Path) -> None:
    assert {path.stem for path in presets.iterdir()} == set(FILES)
    for path in presets.iterdir():
        assert f"--config_file presets/accelerate/{path.name}" in path.read_text()
        assert "-m engine.cli train" in path.read_text()


@pytest.mark.parametrize("key", FILES)
def test_accelerate_reads_it(key: str, presets: Path) -> None:
    config = load_config_from_file(str(presets / f"{key}.yaml"))
    assert config.num_processes == FILES[key] == 8 * config.num_machines
    assert config.mixed_precision == "no"


@pytest.mark.parametrize("key", ["fsdp_1x8", "fsdp_nx8"])
def test_what_it_asks_for_can_be_done(key: str, presets: Path) -> None:
    assert yaml.safe_load((presets / f"{key}.yaml").read_text())["fsdp_config"]["fsdp_version"] == 2
    assert Sharding.from_environment(environment_of(presets / f"{key}.yaml")) == Sharding()


def test_copies_are_no_shards(presets: Path) -> None:
    assert Sharding.from_environment(environment_of(presets / "replicated_1x8.yaml")) is None


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FSDP_VERSION": "1"}, "FSDP_VERSION=1, but it has to say fsdp_version: 2"),
        ({"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "TRANSFORMER_BASED_WRAP"),
        ({"FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}, "SHARDED_STATE_DICT"),
        ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "text encoders would be empty"),
        ({"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "gradient_checkpointing"),
        ({"FSDP_RESHARD_AFTER_FORWARD": "false"}, "replicated_1x8.yaml is faster"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, "shards stay on their devices"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "the model's preset sets"),
    ],
)
def test_what_cannot_be_done_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sharding.from_environment({**ASKED, **variables})


def test_what_may_be_chosen() -> None:
    names = {"FSDP_TRANSFORMER_CLS_TO_WRAP": "ABlock, BBlock"}
    assert Sharding.from_environment({**ASKED, **names}) == Sharding(classes=("ABlock", "BBlock"))
    assert Sharding.from_environment({}) is None


def test_accelerate_does_not_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with hide_fsdp_from_accelerate():
        assert "ACCELERATE_USE_FSDP" not in os.environ
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"


def test_shards_need_other_processes(
    open_tiny: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    args = VideoDPOConfig(output_dir=str(tmp_path), use_cpu=True, num_frames=9, width=32, height=32)
    with pytest.raises(ConfigError, match="start it with accelerate launch"):
        VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=[{"prompt": "a"}])


def test_a_run_that_should_be_sharded_and_is_not_says_so(open_tiny: Callable[[], Any]) -> None:
    """What accelerate leaves behind on a CPU: whole weights, and no word about it."""
    network = open_tiny().network
    setup_lora(network, ("to_q",), rank=2, alpha=None, seed=0)
    with pytest.raises(TrainingError) as caught:
        check_sharded(network)
    assert "8 of its 8 trained tensors are whole on every process" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_one_process_trains_on_one_device(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    """Several visible GPUs would have the library wrap the network, and multiply the batch."""
    args = VideoDPOConfig(output_dir=str(tmp_path), use_cpu=True, num_frames=9, width=32, height=32)
    args._n_gpu = 8
    trainer = VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=[{"prompt": "a"}])
    assert trainer._train_batch_size == args.per_device_train_batch_size


def test_shards_make_room_on_each_device() -> None:
    """Weights and the optimiser's state are dealt out, two gathered blocks come on top, clips are each one's own."""
    changes = {"model": "wan22_14b", "settings": {"lora_rank": 0, "gradient_checkpointing": True}}
    whole, parted = (
        forecast(load_train_preset("dpo_videodpo10k", changes), MI300X_GIB, shards=shards) for shards in (1, 8)
    )
    assert whole is not None and parted is not None
    assert (whole.verdict, parted.verdict) == ("too_large", "fits")
    assert parted.memory.training == pytest.approx(whole.memory.training / 8)
    assert parted.memory.update == whole.memory.update


# ----------------------------------------------------------------------------------------------------------- publishing


def test_a_folder_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    partial, target = tmp_path / "unfinished" / "a", tmp_path / "a"
    for content in ("first", "second"):
        (partial / "part").mkdir(parents=True)
        (partial / "part" / ".hidden").write_text(content)
        replace_folder(partial, target)
        assert (target / "part" / ".hidden").read_text() == content
        assert not partial.exists()
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_a_folder_that_cannot_be_published_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(OSError):
        replace_folder(tmp_path / "none", tmp_path / "a")
    assert (tmp_path / "a" / "old").exists()


def test_shards_are_refused_where_passes_depend_on_the_prompts(
    open_tiny: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process would gather other blocks than the others."""
    for name, value in ASKED.items():
        monkeypatch.setenv(name, value)
    family = open_tiny()
    family.spec = replace(family.spec, passes_by_prompt=True)
    with pytest.raises(ConfigError, match="takes a pass for each length of prompt in a batch"):
        VideoDPOTrainer(
            model=family,
            args=VideoDPOConfig(output_dir=str(tmp_path), use_cpu=True),
            train_dataset=[{"prompt": "a"}],
        )
