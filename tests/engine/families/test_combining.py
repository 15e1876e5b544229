"""Several adapters as one, and models with adapters in their weights."""

import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import FamilyError, StoreError
from engine.families.exchange.combining import combine, write_fused
from engine.families.lora import activate_adapter, activate_adapters, save_adapter
from engine.families.lora_files import for_pipeline, read_parts, write_parts
from engine.families.registry import family_class
from engine.family_interface import FamilyOptions
from engine.seeds import generator_for

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
SCALES = {"first": 0.75, "second": -0.5}


def two_adapters(tiny: SimpleNamespace, folder: Path) -> dict[str, Path]:
    """The second one of a further layer alone, with another alpha."""
    folders = {name: folder / name for name in SCALES}
    save_adapter(tiny.adapted().network, "made", folders["first"])
    last = tiny.open().spec.lora_targets[-1]
    second = tiny.adapted(rf".*\.{last}")
    second.network.peft_config["made"].lora_alpha = 3
    for name, parameter in second.network.named_parameters():
        if ".lora_A.made." in name:
            parameter.data.neg_().add_(0.1)
    save_adapter(second.network, "made", folders["second"])
    return folders


def combined(tiny: SimpleNamespace, folders: dict[str, Path]) -> Any:
    part = tiny.open().spec.network_part
    return combine((for_pipeline(read_parts(folder), part), SCALES[name]) for name, folder in folders.items())


@pytest.mark.parametrize("tiny", ["ltx", "wan_experts", "animatediff"], indirect=True)
def test_one_adapter_has_the_effect_of_several(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """With other layers and ranks; `dailies train --start` begins with it where Generate uses the several."""
    folders = two_adapters(tiny, tmp_path)
    family, again = tiny.open(), tiny.open()
    activate_adapters(family.network, SCALES, folders)
    write_parts(tmp_path / "both", combined(tiny, folders))
    activate_adapter(again.network, "both", tmp_path / "both")
    ours, wanted = tiny.latents_of(again), tiny.latents_of(family)
    assert (ours - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.std()))
    assert (wanted - tiny.latents_of(tiny.open())).abs().max() > 1e-3


@pytest.mark.parametrize("tiny", ["ltx", "wan_experts", "wan_ti2v", "cogvideox", "hunyuanvideo"], indirect=True)
def test_a_fused_model_is_the_same_without_an_adapter(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """In the pipeline of diffusers, and in Dailies."""
    folders = two_adapters(tiny, tmp_path)
    family = tiny.open()
    noise = family.init_latents(tiny.model.request, [generator_for(3)])
    base = tiny.theirs(noise)
    activate_adapters(family.network, SCALES, folders)
    wanted = tiny.latents_of(family)
    (tiny.folder / ".cache").mkdir(exist_ok=True)
    write_fused(tiny.folder, tmp_path / "fused", combined(tiny, folders))
    assert not (tmp_path / "fused" / ".cache").exists()
    again = family_class(tiny.model.family)(str(tmp_path / "fused"), FamilyOptions())
    again.load("cpu", torch.float32)
    pipeline = type(tiny.pipeline).from_pretrained(tmp_path / "fused")
    pipeline.set_progress_bar_config(disable=True)
    assert (wanted - base).abs().max() > 1e-3
    for latents in (tiny.latents_of(again), tiny.theirs(noise, pipeline)):
        assert (latents - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.std()))


@pytest.mark.parametrize("tiny", ["ltx"], indirect=True)
def test_what_cannot_be_fused(tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = combined(tiny, two_adapters(tiny, tmp_path))
    shutil.copytree(tiny.folder, tmp_path / "pickled")
    (weights,) = (tmp_path / "pickled" / "transformer").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(FamilyError, match=r"transformer' has no weights in .safetensors files for 'transformer_blocks"):
        write_fused(tmp_path / "pickled", tmp_path / "out", adapter)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(9, 0, 9))
    with pytest.raises(StoreError, match=r"The model needs 0\.0 GB, but the disk of .* has 0\.0 GB free: free space"):
        write_fused(tiny.folder, tmp_path / "full" / "out", adapter)
    assert not (tmp_path / "full").exists()
