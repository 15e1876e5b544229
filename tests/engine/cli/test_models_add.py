"""`dailies models add`: a diffusers folder, or a network in one file, as a preset of the workspace."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from engine.cli.main import main
from engine.config.model_availability import model_state
from engine.config.own_models import has_two_experts
from engine.config.presets import load_model_preset, preset_keys
from engine.families.registry import open_model
from engine.package_data import PRESETS
from engine.workspace import Workspace

WEIGHTS = "diffusion_pytorch_model.safetensors"
Add = Callable[..., str]


@pytest.fixture
def add(tiny_model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Add:
    """`add(*words)`: run the command; returns its output, or the sentence of its refusal. The hub's cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(*words: Any, code: int = 0, verb: str = "add") -> str:
        assert main(["models", verb, *map(str, words)]) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def test_a_folder_is_recognised_by_its_parts_and_its_size(add: Add, mini_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(mini_folder, tmp_path / "mine")
    network = tmp_path / "mine" / "transformer"
    shutil.copy(network / WEIGHTS, network / WEIGHTS.replace(".safe", ".fp16.safe"))  # the same weights once more
    said = add("mine", "--folder", tmp_path / "mine")
    assert "mine was added: LTX-Video" in said
    preset, mini = load_model_preset("mine"), load_model_preset("mini")
    assert preset.source == str(tmp_path / "mine") and preset.network == mini.network
    assert preset.defaults() == {**mini.defaults(), "model": "mine"} and preset.judge is None and preset.licence == ""
    assert model_state(preset).status == "installed"
    assert open_model(preset, "cpu").network is not None
    assert "its files were kept" in add("mine", verb="rm")
    assert "mine" not in preset_keys("models") and (tmp_path / "mine" / "model_index.json").is_file()


def test_a_folder_that_could_be_several_needs_like(add: Add, tiny_folder: Path) -> None:
    said = add("other", "--folder", tiny_folder, code=2)
    assert "may be like " in said and " ltx, " in said and "by --like" in said
    add("other", "--folder", tiny_folder, "--like", "tiny")
    assert load_model_preset("other").num_frames == 17 and load_model_preset("other").network is None
    assert "'wan21_1_3b' is of the family wan" in add("x", "--folder", tiny_folder, "--like", "wan21_1_3b", code=2)
    assert "A model named 'other' exists already" in add("other", "--folder", tiny_folder, "--like", "tiny", code=2)


def test_what_is_no_model_is_one_sentence_and_adds_nothing(add: Add, tiny_folder: Path, tmp_path: Path) -> None:
    assert "There is no folder" in add("x", "--folder", tmp_path / "nothing", code=2)
    (tmp_path / "empty").mkdir()
    assert "the folder is no diffusers model" in add("x", "--folder", tmp_path / "empty", code=2)
    shutil.copytree(tiny_folder, tmp_path / "torn")
    (tmp_path / "torn" / "vae" / WEIGHTS).unlink()
    assert "lacks vae/weights: download the model again" in add(
        "x", "--folder", tmp_path / "torn", "--like", "tiny", code=2
    )
    index = tmp_path / "torn" / "model_index.json"
    index.write_text(
        json.dumps({"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]})
    )
    assert "(FluxPipeline) fits no family of Dailies: ltx" in add("x", "--folder", tmp_path / "torn", code=2)
    assert "The model 'Bad Key'" in add("Bad Key", "--folder", tiny_folder, "--like", "tiny", code=2)
    assert "--file needs --like" in add("x", "--file", tiny_folder / "transformer" / WEIGHTS, code=2)
    assert "is no .safetensors or .gguf file" in add("x", "--file", tiny_folder, "--like", "tiny", code=2)
    assert not (Workspace.from_env().saved / "models").exists()


def test_a_file_is_the_network_of_another_models_parts(add: Add, tiny_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuned.safetensors"
    shutil.copy(tiny_folder / "transformer" / WEIGHTS, file)
    add("tuned", "--file", file, "--like", "tiny")
    preset = load_model_preset("tuned")
    assert preset.parts == {"transformer": str(file)} and model_state(preset).status == "installed"
    found, expected = (open_model(load_model_preset(key), "cpu").network.state_dict() for key in ("tuned", "tiny"))
    assert all(found[name].equal(tensor) for name, tensor in expected.items())
    cached = tmp_path / "hub" / "models--owner--files"
    (cached / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    shutil.copy(file, cached / "snapshots" / ("a" * 40) / file.name)
    on_hub = preset.model_copy(update={"parts": {"transformer": f"owner/files/{file.name}"}})
    assert model_state(on_hub).status == "installed"
    assert open_model(on_hub, "cpu").network.state_dict().keys() == expected.keys()
    saved = Workspace.from_env().saved / "models" / "hub.toml"
    saved.write_text((PRESETS / "models" / "wan21_1_3b.toml").read_text())
    assert "Deleted" in add("hub", "--yes", verb="rm") and saved.is_file(), "a preset of a hub model is not deleted"
    file.unlink()
    assert model_state(preset).status == "missing" and str(file) in model_state(preset).reason


def test_a_model_of_two_experts_takes_two_files(add: Add, tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "two")
    index = tmp_path / "two" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "boundary_ratio": 0.9}))
    add("two", "--folder", tmp_path / "two", "--like", "tiny")
    high, low = (tmp_path / f"{name}.safetensors" for name in ("high", "low"))
    for file in (high, low):
        shutil.copy(tiny_folder / "transformer" / WEIGHTS, file)
    assert "two (local) has two experts: name the file of the high" in add("x", "--file", low, "--like", "two", code=2)
    add("x", "--file", high, "--low-noise", low, "--like", "two")
    assert load_model_preset("x").parts == {"transformer": str(high), "transformer_2": str(low)}
    assert "has one network: leave --low-noise out" in add(
        "y", "--file", high, "--low-noise", low, "--like", "tiny", code=2
    )
    wan = load_model_preset("wan22_14b")
    assert wan.network is not None and has_two_experts(wan, int(wan.network.params / 2)), "a model that is not here"


def test_what_a_family_reads_from_elsewhere_is_kept(add: Add, tmp_path: Path) -> None:
    """A folder of Stable Diffusion has no motion adapter; its scheduler goes with that. Others have their own one."""
    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    index: dict[str, Any] = {part: ["diffusers", name] for part, name in classes.items()}
    folder = tmp_path / "dream"
    for part in classes:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        save_file({"a": np.zeros(3, np.float32)}, folder / part / WEIGHTS)
    for part, name in (("scheduler", "scheduler_config.json"), ("tokenizer", "vocab.json")):
        (folder / part).mkdir()
        (folder / part / name).write_text("{}")
    index["scheduler"] = ["diffusers", "PNDMScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    add("dream", "--folder", folder, "--like", "animatediff_sd15")
    base, preset = load_model_preset("animatediff_sd15"), load_model_preset("dream")
    assert preset.parts == base.parts and preset.scheduler == base.scheduler
    assert model_state(preset).status == "missing" and "dailies models get dream" in model_state(preset).reason


def test_the_scheduler_of_a_folder_is_its_own(add: Add, tiny_folder: Path, tmp_path: Path) -> None:
    saved = Workspace.from_env().saved / "models"
    saved.mkdir(parents=True)
    (saved / "shifted.toml").write_text(
        (tmp_path / "presets" / "models" / "tiny.toml").read_text() + "\n[scheduler]\nshift = 3.0\n"
    )
    add("mine", "--folder", tiny_folder, "--like", "shifted")
    assert load_model_preset("mine").scheduler == {}
