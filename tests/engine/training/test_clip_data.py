"""SFT on videos with captions and KTO on rated clips: from files and votes to trained weights."""

import codecs
import csv
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config.presets import load_train_preset
from engine.errors import ConfigError, TrainingError
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_tables import read_pairs
from engine.labelling.votes import Vote
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord
from engine.training.build import build_trainer
from engine.training.clip_settings import VideoKTOConfig, VideoSFTConfig
from engine.training.data.clip_rows import rated_of_pairs, read_captioned, read_rated
from engine.training.preflight.checks import preflight
from engine.training.run_creation import create_run
from engine.training.trainer_settings import VideoDPOConfig
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.kto import VideoKTOTrainer
from engine.training.trainers.sft import VideoSFTTrainer
from engine.training.weights import trainable
from engine.video.writer import write_lossless
from rewards.clip import Clip

PROMPTS = ("a red circle", "a blue square", "the green star", "a still circle")
Open = Callable[[], Any]


def frames_of(number: int) -> np.ndarray:
    dark = np.random.default_rng(number).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    return dark // 2 if number % 2 else dark


def assert_same_weights(one: Any, other: Any) -> None:
    """Compare the trained weights of two trainers bit by bit."""
    pairs = zip(trainable(one.family.network), trainable(other.family.network), strict=True)
    for (name, weight), (_, its) in pairs:
        assert torch.equal(weight, its), name


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of four videos in two folders, each with its caption beside it."""
    folder = tmp_path / "videos"
    for number, prompt in enumerate(PROMPTS):
        path = folder / ("first" if number < 2 else "second") / f"{number}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_lossless(path, frames_of(number), 8.0)
        path.with_suffix(".txt").write_text(f"  {prompt}\n")
    return folder


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [{"video": str(path.relative_to(folder)), "caption": path.with_suffix(".txt").read_text().strip()}
            for path in sorted(folder.rglob("*.mkv"))]  # fmt: skip


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def settings(folder: Path, **others: Any) -> dict[str, Any]:
    plain = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "seed": 3}
    shape = {"num_frames": 9, "width": 32, "height": 32, "fps": 8.0, "per_device_train_batch_size": 4}
    return {**plain, **shape, "lr_scheduler_type": "constant", "lora_rank": 4, "save_steps": 100, **others}


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_folder_a_table_and_a_folder_with_a_table_are_the_same_data(videos: Path, tmp_path: Path) -> None:
    wanted = [(prompt, f"{number}.mkv") for number, prompt in enumerate(PROMPTS)]
    (tmp_path / "tables").mkdir()
    places = [videos]
    for name in ("list.csv", "list.jsonl"):
        places.append(write_table(videos / name, rows_in(videos)))
    for place in places:
        assert [(row["prompt"], Path(row["chosen"]).name) for row in read_captioned(place)] == wanted
    renamed = [{"file_name": row["video"], "text": row["caption"]} for row in rows_in(videos)]
    write_table(videos / "metadata.jsonl", renamed)
    assert [(row["prompt"], Path(row["chosen"]).name) for row in read_captioned(videos)] == wanted


def test_captions_have_any_encoding_of_text_files_and_hidden_files_are_left_out(videos: Path) -> None:
    (videos / "first" / "0.txt").write_bytes(codecs.BOM_UTF8 + "un caf\u00e9\r\n".encode())
    (videos / "first" / "1.txt").write_text("a \u00e9toile", encoding="utf-16")
    (videos / "first" / "._0.mkv").write_bytes(b"macOS keeps its own facts in such files")
    assert [row["prompt"] for row in read_captioned(videos)][:2] == ["un caf\u00e9", "a \u00e9toile"]
    (videos / "first" / "0.txt").write_bytes("un caf\u00e9".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"0.txt, line 1: the byte 0xe9 is not valid UTF-8 text"):
        read_captioned(videos)


def test_a_line_separator_in_a_prompt_splits_no_row_of_pairs(tmp_path: Path) -> None:
    row = {"prompt": "a\u2028b", "chosen": "x.mkv", "rejected": "y.mkv"}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [pair["prompt"] for pair in read_pairs(path)] == ["a\u2028b"]


def test_what_has_no_caption_or_no_video_is_refused(videos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"contains no videos .* name a folder of videos"):
        read_captioned(empty)
    (videos / "first" / "0.txt").write_text(" \n")
    with pytest.raises(ConfigError, match=r"0.txt is empty"):
        read_captioned(videos)
    (videos / "first" / "0.txt").unlink()
    with pytest.raises(ConfigError, match=r"1 of 4 videos of .* have no caption, such as 0.mkv: write it into 0.txt"):
        read_captioned(videos)
    lost = [{"video": "gone.mkv", "caption": "a circle"}]
    with pytest.raises(ConfigError, match=r"1 clips of .* are missing, such as .*gone.mkv"):
        read_captioned(write_table(videos / "lost.csv", lost))


def test_labels_of_a_table_are_read(videos: Path) -> None:
    labels = ("true", "bad", "1", "0.0")
    rows = [{**row, "label": label} for row, label in zip(rows_in(videos), labels, strict=True)]
    assert [row["label"] for row in read_rated(write_table(videos / "rated.csv", rows))] == [True, False, True, False]
    rows[1]["label"] = "so-so"
    with pytest.raises(ConfigError, match=r"rated.csv, row 2: the label is 'so-so', but must be one of true, good"):
        read_rated(write_table(videos / "rated.csv", rows))


def test_pairs_are_rated_clips_too(videos: Path) -> None:
    clips = [row["video"] for row in rows_in(videos)]
    pairs = [{"prompt": "p", "chosen": clips[0], "rejected": clips[1]}]
    found = read_rated(write_table(videos / "pairs.jsonl", pairs))
    assert [(Path(row["chosen"]).name, row["label"]) for row in found] == [("0.mkv", True), ("1.mkv", False)]
    assert [row["label"] for row in rated_of_pairs([{**pairs[0], "both_bad": True}])] == [False, False]


# ------------------------------------------------------------------------------------------------------------- trainers


def test_sft_learns_its_videos_alone(videos: Path, open_tiny: Open, tmp_path: Path) -> None:
    args = VideoSFTConfig(**settings(tmp_path / "run", max_steps=20, learning_rate=2e-2, logging_steps=5))
    trainer = VideoSFTTrainer(model=open_tiny(), args=args, train_dataset=read_captioned(videos))
    assert [(one.name, one.level) for one in preflight(trainer)] == [("frames", "ok"), ("clips", "ok")]
    trainer.train()
    errors = [entry["error/chosen"] for entry in trainer.state.log_history if "error/chosen" in entry]
    assert errors[-1] < 0.9 * errors[0]


def test_sft_drops_prompts_at_its_rate(videos: Path, open_tiny: Open, tmp_path: Path) -> None:
    """Of 400 rows, within 4 standard errors."""
    args = VideoSFTConfig(**settings(tmp_path, max_steps=1, prompt_dropout=0.3))
    trainer = VideoSFTTrainer(model=open_tiny(), args=args, train_dataset=read_captioned(videos))
    rows = [dict(row) for row in trainer.train_dataset] * 100
    share = np.mean([request.prompt == "" for request in trainer.requests_after_dropout(rows)])
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 400)


def rated_rows() -> list[dict[str, Any]]:
    """Dark clips are good."""
    return [{"prompt": p, "chosen": frames_of(n), "label": bool(n % 2)} for n, p in enumerate(PROMPTS)]


def test_kto_starts_even_and_tells_good_from_bad(open_tiny: Open, tmp_path: Path) -> None:
    args = VideoKTOConfig(**settings(tmp_path, max_steps=25, learning_rate=3e-3))
    trainer = VideoKTOTrainer(model=open_tiny(), args=args, train_dataset=rated_rows())
    assert [(one.name, one.level) for one in preflight(trainer)][1:] == [("clips", "ok"), ("labels", "ok")]
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert history[0]["loss"] == pytest.approx(0.5, abs=1e-4)
    assert history[0]["rewards/chosen"] == pytest.approx(0, abs=1e-5)
    late = history[-5:]
    assert np.mean([row["rewards/chosen"] - row["rewards/rejected"] for row in late]) > 0.05
    assert np.mean([row["loss"] for row in late]) < 0.5


def test_labels_of_one_kind_are_a_warning_and_other_values_are_refused(open_tiny: Open, tmp_path: Path) -> None:
    args = VideoKTOConfig(**settings(tmp_path, max_steps=1))
    bad = [{**row, "label": False} for row in rated_rows()]
    found = preflight(VideoKTOTrainer(model=open_tiny(), args=args, train_dataset=bad))[-1]
    assert (found.name, found.level) == ("labels", "warning") and "0 clips are good and 4 bad" in found.sentence
    with pytest.raises(ConfigError, match="has the label 'good': it must be true"):
        VideoKTOTrainer(model=open_tiny(), args=args, train_dataset=[{**bad[0], "label": "good"}])


def test_unequal_numbers_of_labels_are_to_be_balanced_by_the_weights(open_tiny: Open, tmp_path: Path) -> None:
    rows = [*rated_rows(), *({**row, "label": False} for row in rated_rows())]
    for weight, level in ((1.0, "warning"), (3.0, "ok"), (3.9, "ok"), (4.1, "warning")):
        args = VideoKTOConfig(**settings(tmp_path, max_steps=1, desirable_weight=weight))
        found = preflight(VideoKTOTrainer(model=open_tiny(), args=args, train_dataset=rows))[-1]
        assert (found.name, found.level) == ("labels", level)
        assert level == "ok" or "set desirable_weight to 3" in found.sentence


@pytest.fixture
def two_sizes() -> list[dict[str, Any]]:
    """Five clips of 9 frames, and three that are learnt as 17 because they have 17 or a few more."""
    clips = [frames_of(number) for number in range(5)]
    for count in (17, 18, 20):
        clips.append(np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    return [{"prompt": f"clip {n}", "chosen": clip, "rejected": clip[:, ::-1].copy()} for n, clip in enumerate(clips)]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_batches_are_of_one_size(kind: str, two_sizes: list[dict[str, Any]], open_tiny: Open, tmp_path: Path) -> None:
    """Also after a stop in the middle of an epoch, with the same weights as without."""
    trainer, config = (VideoSFTTrainer, VideoSFTConfig) if kind == "sft" else (VideoDPOTrainer, VideoDPOConfig)

    def run(folder: Path, steps: int) -> Any:
        batch = {"max_steps": steps, "save_steps": 3, "per_device_train_batch_size": 2}
        return trainer(model=open_tiny(), args=config(**settings(folder, **batch)), train_dataset=two_sizes)

    whole = run(tmp_path / "whole", 7)
    batches = [[row["prompt"] for row in batch] for batch in whole.get_train_dataloader()]
    assert len(batches) == 5, "three of 9 frames and two of 17"
    assert {prompt for batch in batches for prompt in batch} == {row["prompt"] for row in two_sizes}
    whole.train()
    run(tmp_path / "parts", 3).train()
    again = run(tmp_path / "parts", 7)
    again.train(resume_from_checkpoint=True)
    assert_same_weights(whole, again)


def test_a_clear_pair_needs_a_larger_difference(open_tiny: Open, tmp_path: Path) -> None:
    """Before the first update delta is 0, so the loss of margins m is log(1 + exp(2 m)); without one m is 1."""
    rows = [{"prompt": p, "chosen": frames_of(n), "rejected": frames_of(n + 1)} for n, p in enumerate(PROMPTS)]
    rows = [{**row, "margin": margin} for row, margin in zip(rows, (0.0, 0.25, 1.0), strict=False)] + rows[3:]
    args = VideoDPOConfig(**settings(tmp_path, max_steps=1, margin_scale=2.0))
    trainer = VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=rows)
    (loss,) = trainer.losses(rows)
    assert float(loss.detach()) == pytest.approx(np.mean(np.log1p(np.exp([0.0, 0.5, 2.0, 2.0]))), rel=1e-4)
    with pytest.raises(ConfigError, match="margin_scale = 1 must be 0 or more, and works with .* not with ipo"):
        VideoDPOConfig(**settings(tmp_path, margin_scale=1.0, loss_type=["ipo"]))


@pytest.mark.parametrize("kind", ["sft", "kto"])
def test_a_damaged_video_is_refused_or_left_out(kind: str, videos: Path, open_tiny: Open, tmp_path: Path) -> None:
    (videos / "first" / "1.mkv").write_bytes(b"no video")
    rows = [{**row, "label": True} for row in read_captioned(videos)]
    trainer, config = (VideoSFTTrainer, VideoSFTConfig) if kind == "sft" else (VideoKTOTrainer, VideoKTOConfig)
    with pytest.raises(TrainingError, match=r"1 of the clips cannot be read, such as .*1.mkv"):
        trainer(model=open_tiny(), args=config(**settings(tmp_path, max_steps=1)), train_dataset=rows)
    left = trainer(
        model=open_tiny(), args=config(**settings(tmp_path, max_steps=1, skip_damaged=True)), train_dataset=rows
    )
    assert len(left.train_dataset) == 3


@pytest.mark.parametrize("kind", ["sft", "kto"])
def test_a_resumed_run_is_the_same_run(kind: str, videos: Path, open_tiny: Open, tmp_path: Path) -> None:
    rows = [{**row, "label": number % 2 == 0} for number, row in enumerate(read_captioned(videos))]
    trainer, config = (VideoSFTTrainer, VideoSFTConfig) if kind == "sft" else (VideoKTOTrainer, VideoKTOConfig)

    def run(folder: Path, steps: int) -> Any:
        args = config(**settings(folder, max_steps=steps, save_steps=2, learning_rate=1e-3))
        return trainer(model=open_tiny(), args=args, train_dataset=rows)

    whole = run(tmp_path / "whole", 4)
    whole.train()
    run(tmp_path / "halves", 2).train()
    second = run(tmp_path / "halves", 4)
    second.train(resume_from_checkpoint=True)
    assert_same_weights(whole, second)


# --------------------------------------------------------------------------------------------------------------- preset


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"desirable_weight": 0.0, "undesirable_weight": 0.0}, "one of them above 0"),
        ({"beta": 0.0}, "beta and error_scale must be above 0"),
        ({"per_device_train_batch_size": 1}, "KTO compares each clip with the mean of its batch: set it to 2"),
    ],
)
def test_settings_of_kto_are_checked(settings: dict[str, float], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        VideoKTOConfig(output_dir=str(tmp_path), use_cpu=True, **settings)


def preset_of(tiny_model: str, algorithm: str, **data: Any) -> Any:
    changes = {"algorithm": algorithm, "model": tiny_model, "mix": None, "prompts": None, **data}
    few = {"max_steps": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "lora_rank": 2}
    return load_train_preset("mini_nft", changes).model_copy(update={"settings": few})


def test_a_vote_for_both_bad_teaches_kto_and_not_dpo(store: Any, tiny_model: str) -> None:
    """Two pairs: one with a preferred clip, one of which both are bad."""
    ids = [f"{number + 1:016x}" for number in range(4)]
    for number, clip_id in enumerate(ids):
        frames = np.random.default_rng(number).integers(0, 256, (17, 64, 64, 3), dtype=np.uint8)
        prompt = PROMPTS[number // 2]
        save_clip(store.workspace, clip_id, Clip(frames=frames, fps=8.0, prompt=prompt))
        shape = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "source": "generated"}
        store.add_clip(ClipRecord(id=clip_id, prompt=prompt, model=f"m{number % 2}", **shape))
    campaigns = Campaigns(store)
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=tuple(ids)))
    for one, choice in zip(campaigns.next_pairs(campaign.id, "ann"), ("left", "both_bad"), strict=True):
        fields = {"pair_id": one.pair_id, "choice": choice, "shown_left": one.left_clip}
        campaigns.vote(Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, "ann"))
    preset = preset_of(tiny_model, "kto", campaign=campaign.id)
    trainer = build_trainer(preset, create_run(store, preset))
    assert sorted(row["label"] for row in trainer.train_dataset) == [False, False, False, True]
    trainer.train()
    assert trainer.state.global_step == 2
    dpo = create_run(store, preset_of(tiny_model, "dpo", campaign=campaign.id))
    assert len(read_pairs(dpo.pairs_file)) == 1
