"""Pairs of clips, as they come out of files and arrays, to latents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError, TrainingError
from engine.training.data.clip_latents import ClipLatentCache, resample
from engine.training.trainer_settings import VideoDPOConfig
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.video.writer import write_lossless, write_mp4


def row(prompt: str, frames: int) -> dict[str, Any]:
    chosen, rejected = np.random.default_rng(frames).integers(0, 255, (2, frames, 32, 32, 3), np.uint8)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_pairs_of_a_batch_must_be_alike_in_size(open_tiny: Callable[[], Any]) -> None:
    cache, rows = ClipLatentCache(open_tiny()), [row("a circle", 9), row("a square", 17)]
    with pytest.raises(TrainingError, match="that of 'a square' is not like the first.*train_batch_size to 1"):
        cache.latents(rows)
    with pytest.raises(TrainingError, match="that of 'a square' is not like the first"):
        cache.chosen(rows)
    assert all(len(cache.latents([one])[0]) == 1 for one in rows)


def test_clips_of_another_shape_than_the_settings_say_are_told_of_once(
    open_tiny: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    family = open_tiny()
    ClipLatentCache(family, {"num_frames": 9, "width": 32}).latents([row("a circle", 9)])
    assert not caplog.messages
    cache = ClipLatentCache(family, {"num_frames": 17, "width": 64, "height": 32})
    assert (
        cache.latents([row("a circle", 9)])[0].shape == ClipLatentCache(family).latents([row("a circle", 9)])[0].shape
    )
    [said] = caplog.messages
    assert "has num_frames = 9, width = 32, but the settings have num_frames = 17, width = 64" in said


def test_clips_are_cut_to_a_length_that_the_family_can_make(open_tiny: Callable[[], Any]) -> None:
    """VideoDPO-10k has 16 frames: a VAE of 8k+1 would otherwise drop or misplace the last ones without a word."""
    cache, longer = ClipLatentCache(open_tiny()), row("a circle", 16)
    cut = {**longer, **{side: longer[side][:9] for side in ("chosen", "rejected")}}
    for got, wanted in zip(cache.latents([longer]), ClipLatentCache(open_tiny()).latents([cut]), strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted.numpy())
    assert cache.seen == {(9, 32, 32)}


def test_a_faster_clip_is_learnt_at_the_models_rate(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    """Pairs at 30 fps would be learnt as motion at the model's 8 fps, nearly four times as slow."""
    family = open_tiny()
    frames = np.random.default_rng(0).integers(0, 255, (2, 33, 32, 32, 3), np.uint8)
    rows = {}
    for side, clip in zip(("chosen", "rejected"), frames, strict=True):
        rows[side] = str(tmp_path / f"{side}.mkv")
        write_lossless(tmp_path / f"{side}.mkv", clip, 30.0)
    cache = ClipLatentCache(family, fps=8.0)
    found = cache.latents([{"prompt": "a circle", **rows}])
    places = [0, 4, 8, 11, 15, 19, 23, 26, 30]  # k * 30 / 8, to the nearest frame
    wanted = ClipLatentCache(family).latents(
        [{"prompt": "a", "chosen": frames[0][places], "rejected": frames[1][places]}]
    )
    assert all(bool((got == want).all()) for got, want in zip(found, wanted, strict=True))
    assert cache.resampled == {30.0} and cache.seen == {(9, 32, 32)}


@pytest.mark.parametrize(("fps", "wanted", "count"), [(30, 8, 9), (24, 24, 33), (16, 8, 17), (25, 24, 31)])
def test_frames_stand_at_their_times(fps: float, wanted: float, count: int) -> None:
    frames = np.arange(33, dtype=np.uint8)[:, None, None, None]
    found = resample(frames, fps, wanted)[:, 0, 0, 0].astype(float)
    assert len(found) == count
    assert np.abs(found / fps - np.arange(count) / wanted).max() <= 0.5 / fps + 1e-9


def test_a_slower_clip_is_refused_with_both_rates(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    write_lossless(tmp_path / "slow.mkv", np.zeros((9, 32, 32, 3), np.uint8), 4.0)
    with pytest.raises(TrainingError, match=r"slow\.mkv has 4 fps, fewer than the model's 8"):
        ClipLatentCache(open_tiny(), fps=8.0).chosen([{"prompt": "a", "chosen": str(tmp_path / "slow.mkv")}])
    write_lossless(tmp_path / "near.mkv", np.zeros((9, 32, 32, 3), np.uint8), 7.97)
    near = ClipLatentCache(open_tiny(), fps=8.0)
    near.chosen([{"prompt": "a", "chosen": str(tmp_path / "near.mkv")}])
    assert near.resampled == set()


@pytest.fixture
def files(tmp_path: Path) -> list[dict[str, str]]:
    """Three pairs, of which the last has a clip that is cut off."""
    rows = []
    for number in range(3):
        clips = {side: str(tmp_path / f"{number}-{side}.mp4") for side in ("chosen", "rejected")}
        for seed, clip in enumerate(clips.values()):
            noise = np.random.default_rng(10 * number + seed).integers(0, 255, (9, 32, 32, 3), np.uint8)
            write_mp4(Path(clip), noise, 8.0, scale=1)
        rows.append({"prompt": f"pair {number}", **clips})
    torn = Path(rows[2]["rejected"])
    torn.write_bytes(torn.read_bytes()[:-2000])
    return rows


def dpo(open_tiny: Callable[[], Any], folder: Path, rows: list[dict[str, str]], **settings: Any) -> VideoDPOTrainer:
    args = VideoDPOConfig(
        output_dir=str(folder), use_cpu=True, disable_tqdm=True, report_to="none", max_steps=2, lora_rank=2,
        num_frames=9, width=32, height=32, fps=8.0, per_device_train_batch_size=1, save_strategy="no", **settings,
    )  # fmt: skip
    return VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=rows)


def test_a_damaged_clip_is_found_before_the_first_update(
    open_tiny: Callable[[], Any], tmp_path: Path, files: list[dict[str, str]]
) -> None:
    with pytest.raises(TrainingError, match=rf"1 of the clips cannot be read, such as {files[2]['rejected']}\. .*skip"):
        dpo(open_tiny, tmp_path / "run", files)
    alone = dpo(open_tiny, tmp_path / "run", files, loss_type=["sft"])
    assert len(alone.train_dataset) == 3, "rejected clips are not looked at"


def test_damaged_clips_are_left_out_and_counted_where_the_settings_say_so(
    open_tiny: Callable[[], Any], tmp_path: Path, files: list[dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = dpo(open_tiny, tmp_path / "run", files, skip_damaged=True)
    assert [row["prompt"] for row in trainer.train_dataset] == ["pair 0", "pair 1"]
    assert "1 of 3 pairs are left out" in caplog.text and files[2]["rejected"] in caplog.text
    assert np.isfinite(trainer.train().training_loss)
    with pytest.raises(TrainingError, match="No pair is left"):
        dpo(open_tiny, tmp_path / "run", files[2:], skip_damaged=True)


def test_prompts_longer_than_a_request_takes_are_refused(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    rows = [row("a circle", 9), {**row("a", 9), "prompt": "b" * 2001}]
    with pytest.raises(ConfigError, match=r"Row 2 of the data has a prompt of 2,001 characters"):
        dpo(open_tiny, tmp_path, rows)
