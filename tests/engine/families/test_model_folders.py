"""Model folders as people have them: read, or refused in a sentence that says what they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config.presets import load_model_preset
from engine.errors import FamilyError
from engine.families.base import folder_needs
from engine.families.loading import find_folder
from engine.families.ltx import LTXFamily
from engine.families.registry import local_source

WHOLE = folder_needs(LTXFamily)
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the toy model, to be changed."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_with_half_precision_variants_alone_is_read(
    folder: Path, tiny_folder: Path, open_family: Callable[[Path], Any]
) -> None:
    for part in ("transformer", "vae", "text_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    theirs, own = (open_family(one).network.state_dict() for one in (folder, tiny_folder))
    assert all(torch.equal(theirs[name], own[name]) for name in own)


@pytest.mark.parametrize("tiny", ["ltx", "wan_experts", "animatediff", "hunyuanvideo15_i2v"], indirect=True)
def test_the_copies_that_tests_get_are_what_is_read(tiny: SimpleNamespace) -> None:
    one, other = tiny.read(), tiny.open()
    assert torch.equal(tiny.latents_of(one), tiny.latents_of(other))
    theirs = {weight.data_ptr() for weight in tiny.first.network.parameters()}
    assert not theirs & {weight.data_ptr() for weight in other.network.parameters()}


@pytest.mark.parametrize("name", ["film.safetensors", "film.gguf"])
def test_single_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for source in (str(tmp_path / name), f"owner/{name}"):
        with pytest.raises(FamilyError, match=r"is a single .*file\. Dailies reads diffusers folders"):
            find_folder(source, WHOLE)
    with pytest.raises(FamilyError, match=r"has no model_index\.json, but 'film"):
        find_folder(str(tmp_path), WHOLE)


def test_the_home_folder_may_be_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find_folder("~/model", WHOLE) == folder


def test_quantised_weights(folder: Path, open_family: Callable[[Path], Any]) -> None:
    file = folder / "transformer" / "config.json"
    config = {**json.loads(file.read_text()), "quantization_config": {"quant_method": "bitsandbytes"}}
    file.write_text(json.dumps(config))
    with pytest.raises(FamilyError, match=r"are quantised \(bitsandbytes\)"):
        open_family(folder)


def test_a_configuration_with_fewer_layers_than_the_weights(folder: Path, open_family: Callable[[Path], Any]) -> None:
    file = folder / "transformer" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_layers": 1}))
    with pytest.raises(FamilyError, match=r"tensors without a layer in its config\.json.*blocks\.1\."):
        open_family(folder)


def test_missing_tensors(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(FamilyError, match=r"lack 1 tensors, the first is"):
        LTXFamily(str(folder)).load("cpu", torch.float32)


def test_a_revision_goes_with_a_hub_id_alone(tiny_folder: Path) -> None:
    preset = load_model_preset("wan21_1_3b")
    assert local_source(preset.model_copy(update={"revision": "abc"})) == f"{preset.source}@abc"
    here = preset.model_copy(update={"revision": "abc", "source": str(tiny_folder)})
    assert local_source(here) == str(tiny_folder)
