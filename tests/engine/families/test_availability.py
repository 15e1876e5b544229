"""A model that is not installed says so before any work: with its size, and the way to get it."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError
from engine.families import family_class
from engine.families.availability import check_available, missing_sources, why_unavailable
from engine.generation.request import GenerationRequest
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.spec import JobSpec

WAN = "wan21_1_3b"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, in the hub's own layout; downloads are off."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("DAILIES_ALLOW_DOWNLOAD", raising=False)
    return tmp_path


def snapshot(cache: Path, repository: str, *files: str) -> None:
    folder = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / "0123abc"
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("{}")


def part_files(preset: ModelPreset) -> list[str]:
    return [f"{part}/config.json" for part in family_class(preset.family).parts if part not in preset.parts]


def test_the_embedded_model_is_here(cache: Path) -> None:
    assert missing_sources(load_model_preset("mini")) == () and why_unavailable(load_model_preset("mini")) == ""


@pytest.mark.parametrize("key", [key for key in preset_keys("models") if key != "mini"])
def test_every_other_preset_says_its_size_and_how_to_get_it(cache: Path, key: str) -> None:
    preset = load_model_preset(key)
    assert preset.source in missing_sources(preset)
    why = why_unavailable(preset)
    assert why.startswith(f"{preset.title} is not installed (about {preset.download_gb:.0f} GB): run `hf download ")
    assert f"`hf download {preset.source}`" in why and "DAILIES_ALLOW_DOWNLOAD=1" in why


def test_a_whole_snapshot_is_installed_and_a_part_of_one_is_not(cache: Path) -> None:
    preset = load_model_preset(WAN)
    parts = part_files(preset)
    snapshot(cache, preset.source, "model_index.json", *parts[1:])
    assert missing_sources(preset) == (preset.source,)
    snapshot(cache, preset.source, "model_index.json", *parts)
    assert missing_sources(preset) == ()
    check_available(preset)


def test_a_part_from_elsewhere_counts(cache: Path) -> None:
    preset = load_model_preset("animatediff_lightning")
    snapshot(cache, preset.source, "model_index.json", *part_files(preset))
    assert missing_sources(preset) == (preset.parts["motion_adapter"],)
    snapshot(cache, "ByteDance/AnimateDiff-Lightning", "animatediff_lightning_4step_diffusers.safetensors")
    assert missing_sources(preset) == ()


def test_a_missing_folder_is_named(cache: Path, tmp_path: Path) -> None:
    preset = load_model_preset(WAN).model_copy(update={"source": str(tmp_path / "gone")})
    with pytest.raises(ConfigError, match=r"put its weights at '.*gone', or correct `source`"):
        check_available(preset)


def test_downloads_that_are_allowed_are_left_to_the_job(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "1")
    check_available(load_model_preset(WAN))


def test_a_job_is_refused_when_it_is_filed(cache: Path) -> None:
    request = GenerationRequest(prompt="a cat", **load_model_preset(WAN).defaults())
    spec = JobSpec.generate([request], None)
    with pytest.raises(ConfigError, match="is not installed"):
        kind_of(spec.kind, KINDS).read(spec.config)
