"""How a model is opened: parts from elsewhere, a scheduler laid over, the text encoder waiting, the VAE in tiles."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import FamilyError
from engine.families.loading import on_device, text_fingerprint
from engine.families.registry import family_class, family_spec, open_model
from engine.family_interface import FamilyOptions
from engine.request import GenerationRequest
from engine.sampling.schedules import sigmas_for
from engine.seeds import generator_for

SPARSECTRL = pytest.mark.parametrize("tiny", ["animatediff_sparsectrl"], indirect=True)
ANIMATEDIFF = pytest.mark.parametrize("tiny", ["animatediff"], indirect=True)


def test_shipped_presets_fit_their_families() -> None:
    assert len(preset_keys("models")) >= 10
    for key in preset_keys("models"):
        preset = load_model_preset(key)
        spec = family_spec(preset.family)
        assert spec.allows_frames(preset.num_frames) and spec.allows_frames(preset.max_frames), key
        assert preset.width % (preset.size_multiple or spec.size_multiple) == 0, key
        assert preset.height % (preset.size_multiple or spec.size_multiple) == 0, key
        assert preset.licence and preset.recommended and preset.notes, key
        assert preset.distilled == (preset.guidance == 1.0), key


def test_a_preset_lays_its_scheduler_over_the_folders(tiny_folder: Path) -> None:
    shipped = load_model_preset("mini").model_dump()
    laid_over = {"shift": 5.0, "use_dynamic_shifting": False, "shift_terminal": 0.0}
    family = open_model(ModelPreset(**{**shipped, "source": str(tiny_folder), "scheduler": laid_over}), device="cpu")
    sigmas = sigmas_for(family.scheduler_config, 4, 80)
    assert sigmas[1].item() == pytest.approx(5 * 0.75 / (1 + 4 * 0.75))


class Wanderer(torch.nn.Module):
    """Tells where it has been sent."""

    def __init__(self) -> None:
        super().__init__()
        self.device, self.sent = torch.device("cpu"), []

    def to(self, device: Any) -> "Wanderer":
        self.device = torch.device(device)
        self.sent.append(self.device.type)
        return self


def test_a_waiting_network_comes_and_goes_even_when_it_fails() -> None:
    network = Wanderer()
    with pytest.raises(KeyError), on_device(network, "meta"):
        raise KeyError
    assert network.sent == ["meta", "cpu"]


def test_the_text_key_follows_the_files(tmp_path: Path) -> None:
    for part in ("text_encoder", "tokenizer", "connectors", "transformer"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "x").write_text("1")
    before = text_fingerprint(tmp_path)
    (tmp_path / "transformer" / "x").write_text("changed")
    assert text_fingerprint(tmp_path) == before
    for part in ("text_encoder", "tokenizer", "connectors"):
        (tmp_path / part / "x").write_text("changed")
        assert text_fingerprint(tmp_path) != before, part
        before = text_fingerprint(tmp_path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, of numpy and torch
def test_lightnings_levels_are_those_of_euler() -> None:
    """Laid over Stable Diffusion 1.5's own scheduler; Euler's are of noise over signal, ours the share of noise."""
    own = {
        "_class_name": "PNDMScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "epsilon",
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    ours = sigmas_for({**own, **load_model_preset("animatediff_lightning").scheduler}, 4, 0)
    euler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", timestep_spacing="trailing"
    )
    euler.set_timesteps(4)
    assert ours[-1] == 0
    torch.testing.assert_close(ours / (1 - ours**2).sqrt(), euler.sigmas.double(), rtol=1e-4, atol=0)


@ANIMATEDIFF
def test_a_motion_adapter_is_needed_and_must_fit(tiny: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="generates single pictures: name a motion adapter"):
        family_class("animatediff")(str(tiny.folder)).load("cpu", torch.float32)
    with pytest.raises(FamilyError, match="There is no file '.*gone.safetensors'"):
        open_with(tiny.folder, str(tmp_path / "gone.safetensors"))
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(FamilyError, match="is no readable motion adapter"):
        open_with(tiny.folder, str(tmp_path / "torn.safetensors"))


def open_with(folder: Path, adapter: str, **options: Any) -> Any:
    laid_over = load_model_preset("animatediff_sd15").scheduler
    told = FamilyOptions(parts={"motion_adapter": adapter}, scheduler=laid_over, **options)
    family = family_class("animatediff")(str(folder), told)
    family.load("cpu", torch.float32)
    return family


@ANIMATEDIFF
def test_a_merged_network_needs_no_adapter(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """What AnimateDiffPipeline.save_pretrained writes."""
    tiny.pipeline.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["unet"][1] == "UNetMotionModel"
    merged = family_class("animatediff")(str(tmp_path))
    merged.load("cpu", torch.float32)
    other = tiny.open()
    latents = merged.init_latents(tiny.model.request, [generator_for(1)])
    ours, theirs = (f.predict(latents, torch.tensor([0.5]), f.encode(["a"])) for f in (merged, other))
    assert torch.allclose(ours, theirs, atol=1e-6)
    with pytest.raises(FamilyError, match="at most 32 frames, but the request has 40: request fewer, or use mode"):
        merged.init_latents(tiny.model.request.model_copy(update={"num_frames": 40}), [generator_for(1)])


@ANIMATEDIFF
def test_free_noise_changes_longer_clips_only(tiny: SimpleNamespace) -> None:
    plain, far = tiny.open(), open_with(tiny.folder, tiny.options.parts["motion_adapter"], context_frames=8)
    prompts, level = plain.encode(["a red circle"]), torch.tensor([0.5])

    def output(family: Any, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        request = tiny.model.request.model_copy(update={"num_frames": num_frames})
        noise = family.init_latents(request, [generator_for(1)])
        return noise, family.predict(noise, level, prompts)

    short = [output(family, 8) for family in (plain, far)]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*short, strict=True))
    noise, _ = output(far, 40)
    assert noise.shape[2] == 40 and torch.equal(noise[:, :, 8:10].sum(2), noise[:, :, :2].sum(2))
    assert not torch.equal(output(plain, 16)[1], output(far, 16)[1])


@SPARSECTRL
def test_sparse_control_is_read_from_its_own_place_or_the_folder(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """The folder is what AnimateDiffSparseControlNetPipeline.save_pretrained writes."""
    tiny.pipeline.save_pretrained(tmp_path)
    whole, other = family_class("animatediff_sparsectrl")(str(tmp_path)), tiny.open()
    whole.load("cpu", torch.float32)
    latents = whole.init_latents(tiny.model.request, [generator_for(1)])
    words = whole.encode(["a"])
    told = replace(words, extras=whole.encode_pictures(tiny.model.pictures(1), tiny.model.places, 5))
    shown, elsewhere = (f.predict(latents, torch.tensor([0.5]), told) for f in (whole, other))
    assert torch.allclose(shown, elsewhere, atol=1e-6)
    assert (shown - whole.predict(latents, torch.tensor([0.5]), words)).abs().max() > 1e-3


@SPARSECTRL
def test_sparse_control_that_does_not_fit_is_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    from diffusers import SparseControlNetModel

    def opened(**parts: str) -> Any:
        options = FamilyOptions(parts={**tiny.options.parts, **parts}, context_frames=8)
        family = family_class("animatediff_sparsectrl")(str(tiny.folder), options)
        family.load("cpu", torch.float32)
        return family

    long = tiny.model.request.model_copy(update={"num_frames": 40})
    with pytest.raises(FamilyError, match="at most 32 frames, but the request has 40"):
        opened().init_latents(long, [generator_for(1)])
    config = json.loads((tiny.folder / "control" / "config.json").read_text())
    scribbles = {**config, "use_simplified_condition_embedding": False, "conditioning_channels": 3}
    SparseControlNetModel.from_config(scribbles).save_pretrained(tmp_path / "scribbles")
    with pytest.raises(FamilyError, match="is a SparseCtrl for scribbles: name one for pictures"):
        opened(sparse_control=str(tmp_path / "scribbles"))
    with pytest.raises(FamilyError, match="There is no model folder '/no/such/folder'"):
        opened(sparse_control="/no/such/folder")


def test_pictures_are_given_at_their_own_times(tiny_family: Any) -> None:
    """LTX takes clean pictures as further tokens: what they show and when both matter, and none is as before."""
    request = GenerationRequest(prompt="x", num_frames=17, width=64, height=48)
    latents = tiny_family.init_latents(request, [generator_for(1)])
    plain = replace(tiny_family.encode(["a red circle"]), fps=8.0)
    pictures = torch.randn(1, 8, 2, 3, 4, generator=torch.Generator().manual_seed(0))

    def output(pictures: torch.Tensor, frames: list[int]) -> torch.Tensor:
        extras = {"pictures": pictures, "picture_frames": torch.tensor([frames])}
        return tiny_family.predict(latents, torch.tensor([0.5]), replace(plain, extras=extras))

    first = output(pictures, [0, 16])
    assert first.shape == latents.shape
    assert (first - tiny_family.predict(latents, torch.tensor([0.5]), plain)).abs().max() > 1e-3
    assert (first - output(pictures, [0, 8])).abs().max() > 1e-4
    assert (first - output(pictures.flip(2), [0, 16])).abs().max() > 1e-4
    assert torch.allclose(first, output(pictures.flip(2), [16, 0]), atol=1e-5)
    none = output(pictures[:, :, :0], [])
    assert torch.allclose(none, tiny_family.predict(latents, torch.tensor([0.5]), plain), atol=1e-5)
