"""Training of `mini` with a few steps: every phase runs and resumes, and diffusers loads the result."""

import itertools
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXPipeline
from safetensors.torch import load_file

from engine.errors import TrainingError
from engine.mini import world
from tools.mini import autoencoder, latents, text, train

# Under autocast the gains of LTX's norms stay float32, which torch remarks on.
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with two steps of every phase, and one shard of eight short clips."""
    folder = tmp_path_factory.mktemp("mini")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder, "MEASURED_CLIPS", 4)
        autoencoder.train(folder / "vae", 2, autoencoder.content_loss, batch=2)
    text.train(folder, num_steps=2, batch=4)
    for part in ("vae", "text"):
        (folder / f"{part}.json").write_text("{}")
    (folder / "latents").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "SHARD_CLIPS", 8)
        patch.setattr(train, "TOKENS_PER_BATCH", 5 * 16 * 4)
        latents.make_shard(AutoencoderKLLTXVideo.from_pretrained(folder / "vae"), folder / "latents", 17, 0)
        train.train_dit(folder, 2, seed=0)
        train.train_dit(folder, 3, seed=0)
    return folder


@pytest.fixture
def begun(work: Path, tmp_path: Path) -> Path:
    """A copy of the work folder whose transformer is still to be trained."""
    return shutil.copytree(work, tmp_path / "begun", ignore=shutil.ignore_patterns("dit.pt"))


def write_state(work: Path, folder: Path, step: int, *lacking: str) -> None:
    """Write the dit.pt of `work` into `folder`, at `step` and without the fields that are `lacking`."""
    saved = torch.load(work / "dit.pt", weights_only=True) | {"step": step}
    torch.save({name: part for name, part in saved.items() if name not in lacking}, folder / "dit.pt")


def test_the_world_has_a_prompt_for_every_word_and_the_tokenizer_knows_them_all() -> None:
    tokenizer, rng = text.make_tokenizer(), np.random.default_rng(0)
    for _ in range(300):
        prompt = world.prompt(world.sample_scene(rng), rng)
        assert tokenizer.unk_token_id not in tokenizer(prompt).input_ids, prompt
    assert tokenizer.unk_token_id in tokenizer("a red dragon").input_ids


def test_held_out_scenes_are_about_a_tenth_and_never_in_the_training_set() -> None:
    rng = np.random.default_rng(0)
    scenes = [world.sample_scene(rng) for _ in range(2000)]
    assert 0.07 < np.mean([world.is_held_out(s) for s in scenes]) < 0.13
    assert not any(world.is_held_out(world.sample_scene(rng, held_out=False)) for _ in range(200))


def test_targets_say_where_the_subject_is() -> None:
    subject = world.Subject("star", "red", "large", 40.0, 24.0)
    told = latents.targets(world.Scene((subject,), "still", "night"), 17)
    assert told.shape == (5, 16, latents.TARGET_DIM)
    column = len(world.BACKGROUNDS) + 1  # "a subject is here"
    there = told[0, :, column].reshape(4, 4)
    assert there[1, 2] == there.max() == 1.0 and there[3, 0] == 0.0
    np.testing.assert_allclose(told[0, 1 * 4 + 2, column + 1 : column + 3], [0.0, 0.0], atol=1e-6)


def test_training_resumes_where_it_stopped(work: Path) -> None:
    saved = torch.load(work / "dit.pt", weights_only=True)
    assert saved["step"] == 3
    assert all(torch.isfinite(v).all() for v in saved["model"].values())


def test_a_limit_of_time_counts_the_runs_before(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_on(num_steps: int) -> dict[str, Any]:  # with a clock that advances 25 s per step
        monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=itertools.count(1000, 25).__next__))
        train.train_dit(begun, num_steps, seed=0, minutes=1)
        return torch.load(begun / "dit.pt", weights_only=True)

    saved = train_on(2)
    assert (saved["step"], saved["elapsed_s"]) == (2, 50)
    saved = train_on(1000)
    assert (saved["step"], saved["elapsed_s"]) == (3, 75)
    left, warm = (1 - 50 / 60) / 0.3, 3 / 150
    for group in (g for name in ("muon", "adam") for g in saved[name]["param_groups"]):
        assert group["lr"] == pytest.approx(group["peak"] * warm * left)
    assert train_on(1000)["step"] == 3


def test_a_state_without_the_early_average_goes_on_until_it_is_due(work: Path, begun: Path) -> None:
    write_state(work, begun, 1, "early", "elapsed_s")
    train.train_dit(begun, 3, seed=0)
    saved = torch.load(begun / "dit.pt", weights_only=True)
    assert saved["step"] == 3 and saved["early"] is not None
    assert math.isnan(saved["elapsed_s"])


def test_a_state_that_missed_the_early_average_is_refused(work: Path, begun: Path, tmp_path: Path) -> None:
    write_state(work, begun, 3, "early", "elapsed_s")
    with pytest.raises(TrainingError, match="at step 3 of 6 without the average at 45 % .* remove it to train"):
        train.train_dit(begun, 6, seed=0)
    with pytest.raises(TrainingError, match="lacks the average at 45 % .* run the phase dit first"):
        train.export(begun, tmp_path / "mini")


def test_a_limit_of_time_is_refused_where_the_time_before_is_unknown(work: Path, begun: Path) -> None:
    write_state(work, begun, 3, "elapsed_s")
    with pytest.raises(
        TrainingError, match="does not record its training time, .* a limit of 4.5 minutes .* without --minutes"
    ):
        train.train_dit(begun, 10, seed=0, minutes=4.5)


def test_the_export_is_a_diffusers_folder_in_half_precision_and_small(work: Path, tmp_path: Path) -> None:
    train.export(work, tmp_path / "mini")
    weights = [p.stat().st_size for p in (tmp_path / "mini").rglob("*.safetensors")]
    assert len(weights) == 3 and sum(weights) <= 16 * 2**20
    pipeline = LTXPipeline.from_pretrained(tmp_path / "mini", dtype=torch.float32)
    assert pipeline.vae_temporal_compression_ratio == latents.STRIDE
    clip = pipeline(
        prompt="a red ball moving left", width=64, height=64, num_frames=17, num_inference_steps=2, output_type="pt"
    ).frames
    assert clip.shape == (1, 17, 3, 64, 64)


def test_the_export_holds_back_a_part_of_the_training(work: Path, tmp_path: Path) -> None:
    saved = torch.load(work / "dit.pt", weights_only=True)
    train.export(work, tmp_path)
    exported = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    name = "transformer_blocks.3.attn1.to_q.weight"
    late, early = saved["average"][f"module.{name}"], saved["early"][name]
    assert not torch.equal(late, early)
    mixed = (1 - train.EARLY_SHARE) * late + train.EARLY_SHARE * early
    torch.testing.assert_close(exported[name], mixed.bfloat16(), rtol=0.01, atol=1e-6)


def test_shapes_are_weighted_over_the_background() -> None:
    scene = world.Scene((world.Subject("square", "blue", "large", 32.0, 32.0),), "still", "white")
    target = autoencoder.to_model_space(world.render(scene, 1)[None])
    weight = autoencoder.subject_weight(target)[0, 0, 0]
    assert weight[32, 32] == 7 and weight[2, 2] == 1
