"""A clip that an overflow destroyed is an error with its remedy, wherever clips are decoded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.cli.main import main
from engine.errors import FamilyError
from engine.families.vae import finite_latents, refuse_overflow
from engine.request import GenerationRequest
from engine.seeds import generator_for
from engine.storage.library import Library
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.rollout.rollouts import generate_rollouts
from engine.workspace import Workspace

LATENTS = torch.zeros(1, 4, 2, 2, 2)
BLACK = -torch.ones(1, 3, 5, 8, 8)


def with_one(value: float) -> torch.Tensor:
    video = torch.rand(1, 3, 5, 8, 8)
    video[0, 1, 2, 3, 4] = value
    return video


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite(value: float) -> None:
    with pytest.raises(FamilyError, match=r'decoded clip contains NaN.*overflowed in float16\. Set dtype = "bfloat16"'):
        refuse_overflow(with_one(value).half(), LATENTS)
    with pytest.raises(FamilyError, match=r"latents of a clip contain NaN or infinity"):
        refuse_overflow(torch.rand(1, 3, 5, 8, 8), LATENTS + value)


def test_one_colour_over_the_whole_clip() -> None:
    with pytest.raises(FamilyError, match=r"has one colour over all pixels and frames.*float32"):
        refuse_overflow(BLACK, LATENTS)
    with pytest.raises(FamilyError, match=r"has one colour"):
        refuse_overflow(torch.cat([with_one(0.5), BLACK]), LATENTS)


def test_a_black_scene_is_no_overflow() -> None:
    """As a decoder makes one: borders differ from the middle by less than a step of 8 bits. So may a still clip be."""
    scene = BLACK.clone()
    scene[..., 0] += 1e-4
    refuse_overflow(scene, LATENTS)
    refuse_overflow(torch.rand(1, 3, 1, 8, 8).expand(-1, -1, 5, -1, -1), LATENTS)


@pytest.mark.parametrize(
    "tiny", ["ltx_condition_without_pictures", "ltx2", "wan", "cogvideox", "hunyuanvideo", "animatediff"], indirect=True
)
def test_every_family_refuses_it(tiny: SimpleNamespace) -> None:
    family = tiny.open()
    latents = family.init_latents(tiny.model.request, [generator_for(1)])
    family.decode(latents)
    first = next(
        module for module in family.vae.decoder.modules() if hasattr(module, "weight") and module.weight.ndim > 2
    )
    first.weight.data[:] = 3e38
    with pytest.raises(FamilyError, match=r"NaN or infinity|one colour"):
        family.decode(latents)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_encoded_latents_that_are_not_finite(value: float) -> None:
    assert finite_latents(LATENTS) is LATENTS
    with pytest.raises(FamilyError, match=r"given pictures contain NaN.*encoder overflowed in float16.*bfloat16"):
        finite_latents((LATENTS + value).half())


@pytest.mark.parametrize(
    "tiny", ["ltx_condition_without_pictures", "ltx2", "wan", "cogvideox", "hunyuanvideo", "animatediff"], indirect=True
)
def test_every_family_refuses_it_of_pictures(tiny: SimpleNamespace) -> None:
    family = tiny.open()
    request = tiny.model.request
    frames = np.zeros((1, request.num_frames, request.height, request.width, 3), np.uint8)
    assert family.encode_frames(frames).isfinite().all()
    first = next(
        module for module in family.vae.encoder.modules() if hasattr(module, "weight") and module.weight.ndim > 2
    )
    first.weight.data[:] = torch.nan
    with pytest.raises(FamilyError, match="latents of the given pictures contain NaN"):
        family.encode_frames(frames)
    with pytest.raises(FamilyError, match="latents of the given pictures contain NaN"):
        family.encode_pictures(frames[:, :1], (0,), request.num_frames)


@pytest.fixture
def half_mini(mini_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset of mini in float16 with a VAE that overflows, as the fault was found: `conv_in` times 2e4."""
    folder = tmp_path / "half"
    shutil.copytree(mini_folder, folder)
    file = next((folder / "vae").glob("*.safetensors"))
    tensors = load_file(file)
    for key in tensors:
        if key.startswith("decoder.conv_in"):
            tensors[key] = tensors[key].float() * 2e4
    save_file(tensors, file, metadata={"format": "pt"})
    shipped = (Path(__file__).parents[3] / "presets/models/mini.toml").read_text()
    top, mark, rest = shipped.partition("\n[")
    lines = [line for line in top.splitlines() if not line.startswith(("source", "dtype", "key"))]
    lines = [f"source = {json.dumps(str(folder))}", 'dtype = "float16"', *lines, mark + rest]
    (tmp_path / "presets" / "models").mkdir(parents=True)
    (tmp_path / "presets" / "models" / "half_mini.toml").write_text("\n".join(lines))
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "presets"))
    monkeypatch.setenv("DAILIES_DEVICE", "cpu")
    return "half_mini"


MODES = [["--mode", "direct"], ["--mode", "keyframes"], ["--mode", "windows", "--window", "17", "--overlap", "8"]]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode[1])
def test_nothing_is_stored(half_mini: str, mode: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--workspace", str(tmp_path / "workspace")]
    size = ["--frames", "33", "--width", "32", "--height", "32", "--steps", "1", "--guidance", "1"]
    assert main(["generate", "a red circle", "--model", half_mini, *size, *mode, *where]) == 2
    assert 'Set dtype = "bfloat16"' in capsys.readouterr().err
    store = Library(Workspace(tmp_path / "workspace"))
    try:
        assert not list((tmp_path / "workspace" / "clips").rglob("*.mp4"))
    finally:
        store.close()


def test_rollouts_and_evaluations_refuse_it(tiny_folder: Path, open_family: Callable[[Path], Any]) -> None:
    """Both decode by `generate_rollouts`."""
    family = open_family(tiny_folder)
    family.vae.decoder.conv_in.conv.weight.data[:] = 3e38
    request = GenerationRequest(prompt="a star", num_frames=9, width=32, height=32, num_steps=1, guidance=1.0)
    with pytest.raises(FamilyError, match=r"NaN or infinity|one colour"):
        generate_rollouts(family, [request], PromptEmbeddings(family, 8.0))
