"""A model that is not installed is refused before any work, with its size and how to get it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from engine.config.model_availability import check_available, model_state, needed_sources, why_unavailable
from engine.config.model_downloads import plan_model
from engine.config.presets import load_model_preset, load_train_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, FamilyError, HubError, TrainingError
from engine.families.files.sources import cached_revisions
from engine.families.loading import find_folder
from engine.families.registry import FAMILIES, family_class, local_source, open_model
from engine.generation.prompt_length import unread_end
from engine.hub.repository import HubSource
from engine.hub.selection import Needs
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.spec import JobSpec
from engine.request import GenerationRequest
from engine.runs.model_revisions import record_revisions, revisions_of
from engine.runs.run import Run
from engine.storage.clip_files import save_clip
from engine.workspace import Workspace
from rewards.clip import Clip

WAN = "wan21_1_3b"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, in the hub's own layout; downloads are off."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("DAILIES_ALLOW_DOWNLOAD", raising=False)
    return tmp_path


COMMIT = "0123456789abcdef" * 2 + "01234567"


def snapshot(cache: Path, repository: str, *files: str, ref: str = "main", commit: str = COMMIT) -> None:
    """As the hub's client stores a revision."""
    stored = cache / f"models--{repository.replace('/', '--')}"
    (stored / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
    (stored / "refs" / ref).write_text(commit)
    folder = stored / "snapshots" / commit
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("{}")
    parts = {file.split("/")[0] for file in files if "/" in file}
    classes = {
        part: ["diffusers", name if isinstance(name, str) else name[0]]
        for family in FAMILIES
        for part, name in getattr(family_class(family), "parts", {}).items()
        if family == "wan" or repository != load_model_preset(WAN).source
    }
    index = {part: classes[part] for part in parts if part in classes}
    if "model_index.json" in files:
        (folder / "model_index.json").write_text(json.dumps(index))


def missing_sources(preset: ModelPreset) -> tuple[str, ...]:
    """The folders, files and hub ids whose weights are incomplete on this machine."""
    return tuple(one.source for one in needed_sources(preset) if not one.is_installed)


def part_files(preset: ModelPreset) -> list[str]:
    """The files of a whole model, those of `transformer` last."""
    parts = [part for part in family_class(preset.family).parts if part not in preset.parts]
    networks = sorted((part for part in parts if part != "scheduler"), key="transformer".__eq__)
    files = ["scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"]
    return files + [f"{part}/{name}" for part in networks for name in ("config.json", "model.safetensors")]


def test_the_embedded_model_is_here(cache: Path) -> None:
    assert missing_sources(load_model_preset("mini")) == () and why_unavailable(load_model_preset("mini")) == ""


@pytest.mark.parametrize("key", [key for key in preset_keys("models") if key != "mini"])
def test_every_other_preset_says_its_size_and_how_to_get_it(cache: Path, key: str) -> None:
    preset = load_model_preset(key)
    assert preset.source in missing_sources(preset)
    why = why_unavailable(preset)
    assert why.startswith(
        f"{preset.title} is not installed (about {preset.download_gb:.0f} GB): run `dailies models get {key}`"
    )


def test_those_who_forbid_downloads_are_offered_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "0")
    preset = load_model_preset(WAN)
    assert "DAILIES_ALLOW_DOWNLOAD=0 forbids downloads" in why_unavailable(preset)
    with pytest.raises(HubError, match="DAILIES_ALLOW_DOWNLOAD=0 forbids downloads"):
        plan_model(preset)


def test_a_whole_snapshot_is_installed_and_a_part_of_one_is_not(cache: Path) -> None:
    preset = load_model_preset(WAN)
    parts = part_files(preset)
    for partial in (parts[1:], parts[:-1], [file for file in parts if not file.startswith("vae")]):
        snapshot(cache, preset.source, "model_index.json", *partial)
        assert missing_sources(preset) == (preset.source,)
        shutil.rmtree(cache / f"models--{preset.source.replace('/', '--')}")
    snapshot(cache, preset.source, "model_index.json", *parts)
    assert missing_sources(preset) == ()
    check_available(preset)


def test_a_part_from_elsewhere_counts(cache: Path) -> None:
    preset = load_model_preset("animatediff_lightning")
    snapshot(cache, preset.source, "model_index.json", *part_files(preset))
    assert missing_sources(preset) == (preset.parts["motion_adapter"],)
    snapshot(cache, "ByteDance/AnimateDiff-Lightning", "animatediff_lightning_4step_diffusers.safetensors")
    assert missing_sources(preset) == ()


def test_only_the_wanted_revision_counts(cache: Path) -> None:
    preset = load_model_preset(WAN)
    files = ("model_index.json", *part_files(preset))
    snapshot(cache, preset.source, *files)
    for revision, is_here in (("main", True), (COMMIT, True), ("v1.0", False), ("f" * 40, False), ("refs/pr/1", False)):
        pinned = preset.model_copy(update={"revision": revision})
        assert missing_sources(pinned) == (() if is_here else (preset.source,)), revision
    snapshot(cache, preset.source, *files, ref="refs/pr/1", commit="e" * 40)
    pinned = preset.model_copy(update={"revision": "refs/pr/1"})
    assert missing_sources(pinned) == () and cached_revisions(pinned) == {preset.source: "e" * 40}
    assert cached_revisions(preset) == {preset.source: COMMIT}


def test_a_part_may_name_its_own_revision(cache: Path) -> None:
    preset = load_model_preset(WAN).model_copy(update={"parts": {"vae": "some/vae@v2"}})
    snapshot(cache, preset.source, "model_index.json", *part_files(preset))
    assert missing_sources(preset) == ("some/vae@v2",)
    snapshot(cache, "some/vae", "config.json", "model.safetensors", ref="v2", commit="d" * 40)
    assert missing_sources(preset) == ()
    assert cached_revisions(preset) == {preset.source: COMMIT, "some/vae": "d" * 40}


def test_a_folder_in_a_home_folder_is_found(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models" / "wan").mkdir(parents=True)
    preset = load_model_preset(WAN).model_copy(update={"source": "~/models/wan", "revision": "v1"})
    assert missing_sources(preset) == () and cached_revisions(preset) == {}
    assert model_state(preset).status == "incompatible", "the folder is empty"
    assert local_source(preset) == str(tmp_path / "models" / "wan")


@pytest.mark.parametrize("source", ["~/models/gone", "~nobody-has-this-name/models/wan"])
def test_a_folder_of_a_home_folder_that_is_missing_is_one_sentence(cache: Path, source: str) -> None:
    preset = load_model_preset(WAN).model_copy(update={"source": source, "revision": "v1"})
    assert f"put its weights at '{source}'" in why_unavailable(preset)
    assert local_source(preset) == source
    assert unread_end(preset, "a cat " * 2000) == ""


def test_clips_record_the_revision_of_their_model(cache: Path, workspace: Workspace) -> None:
    source = load_model_preset(WAN).source
    snapshot(cache, source, "model_index.json")
    request = GenerationRequest(prompt="a cat", **load_model_preset(WAN).defaults())
    clip = Clip(frames=np.zeros((9, 32, 32, 3), np.uint8), fps=16.0, prompt="a cat")
    revisions = cached_revisions(load_model_preset(WAN))
    folder = save_clip(workspace, request.id, clip, request, revisions)
    assert json.loads((folder / "request.json").read_text())["weights"] == {source: COMMIT}


def test_runs_record_the_revision_and_do_not_go_on_with_another(workspace: Workspace) -> None:
    run = Run.create(workspace, load_train_preset("mini_nft"))
    assert revisions_of(run) == {}
    record_revisions(run, {"a/model": COMMIT})
    record_revisions(run, {"a/model": COMMIT, "a/part": "d" * 40})
    assert revisions_of(run) == {"a/model": COMMIT, "a/part": "d" * 40}
    with pytest.raises(TrainingError, match=f"trained on revision {COMMIT} of a/model, but eee.*set `revision`"):
        record_revisions(run, {"a/model": "e" * 40})
    assert revisions_of(run)["a/model"] == COMMIT


def test_a_missing_folder_is_named(cache: Path, tmp_path: Path) -> None:
    preset = load_model_preset(WAN).model_copy(update={"source": str(tmp_path / "gone")})
    with pytest.raises(ConfigError, match=r"put its weights at '.*gone', or correct `source`"):
        check_available(preset)


def test_a_folder_without_all_weights_is_not_installed(cache: Path, tmp_path: Path, mini_folder: Path) -> None:
    shutil.copytree(mini_folder, tmp_path / "torn")
    preset = load_model_preset("mini").model_copy(update={"source": str(tmp_path / "torn")})
    assert model_state(preset).status == "installed"
    next((tmp_path / "torn" / "vae").glob("*.safetensors")).unlink()
    assert model_state(preset).status == "missing" and "torn/vae/weights'" in why_unavailable(preset)
    empty = load_model_preset("mini").model_copy(update={"parts": {"transformer": str(tmp_path)}})
    assert model_state(empty).status == "missing" and f"{tmp_path}/config.json" in why_unavailable(empty)


@pytest.mark.parametrize("key", ["animatediff_sd15", "mochi_1", "wan21_1_3b"])
def test_a_job_needs_the_files_that_get_downloads(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the variants in half precision."""
    preset = load_model_preset(key)
    asked: list[Needs] = []

    def find(source: str, needs: Needs) -> Path:
        asked.append(needs)
        raise FamilyError("stop")

    monkeypatch.setattr("engine.families.base.find_folder", find)
    with pytest.raises(FamilyError, match="stop"):
        open_model(preset, "cpu")
    assert asked == [needed_sources(preset)[0].needs]
    assert asked[0].variant == {"float16": "fp16", "bfloat16": "bf16"}[preset.dtype]


def test_a_revision_with_slashes_is_loaded(cache: Path) -> None:
    """As it is downloaded: pull requests of the hub have such revisions."""
    preset = load_model_preset(WAN).model_copy(update={"revision": "refs/pr/3"})
    snapshot(cache, preset.source, "model_index.json", ref="refs/pr/3")
    assert HubSource.read(local_source(preset)) == HubSource(repository=preset.source, revision="refs/pr/3")
    assert (find_folder(local_source(preset), Needs(files=("model_index.json",))) / "model_index.json").is_file()


def test_downloads_that_are_allowed_are_left_to_the_job(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "1")
    check_available(load_model_preset(WAN))


def test_a_job_is_refused_when_it_is_filed(cache: Path) -> None:
    request = GenerationRequest(prompt="a cat", **load_model_preset(WAN).defaults())
    spec = JobSpec.generate([request], None)
    with pytest.raises(ConfigError, match="is not installed"):
        kind_of(spec.kind, KINDS).validate(spec.config)
