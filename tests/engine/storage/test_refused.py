"""What is refused, as a whole or in part, changes nothing: neither a file nor a row."""

import csv
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.config.presets import change_preset, load_train_preset, save_train_preset
from engine.errors import ConfigError, DailiesError, StoreError
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.handlers.campaign_clips import create_campaign
from engine.jobs.queue import JobQueue
from engine.labelling import pair_exchange
from engine.labelling.campaign_spec import CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_archives import import_archive
from engine.labelling.pair_exchange import import_pairs
from engine.labelling.vote_csv import import_votes
from engine.labelling.votes import Vote
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.run import Run
from engine.storage import video_import
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.storage.uploads import kept_uploads
from engine.storage.video_import import import_clip
from engine.training.run_creation import create_run
from engine.video.writer import write_lossless
from rewards.clip import Clip
from tests.snapshots import snapshot


@pytest.fixture
def campaign(store: Library, library: Callable[[int, int], tuple[str, ...]]) -> Any:
    spec = CampaignSpec(title="t", clip_ids=library(3, 2), axes=("motion",), repeat_share=0)
    return Campaigns(store).create(spec)


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def a_video(path: Path, seed: int, size: int = 32) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lossless(path, np.random.default_rng(seed).integers(0, 256, (5, size, size, 3), dtype=np.uint8), 8.0)
    return path.name


# ---- Votes
def good_row(store: Library, campaign: Any, labeller: str = "ann") -> dict[str, Any]:
    pair = sorted(Campaigns(store).pairs(campaign.id), key=lambda one: one.id)[0]
    return {"left_clip": pair.clip_a, "right_clip": pair.clip_b, "labeller": labeller, "choice": "left"}


@pytest.mark.parametrize(
    "change",
    [
        {"choice": "up"},
        {"axis:smell": "left"},
        {"labeller": ""},
        {"left_clip": "f" * 16},
        {"client_uuid": "?"},
        {"is_repeat": "perhaps"},
    ],
)
def test_a_row_of_votes_that_is_refused_leaves_nothing(
    store: Library, campaign: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    before = snapshot(store)
    table = write_table(tmp_path / "votes.csv", [{**good_row(store, campaign), **change}])
    found = import_votes(Campaigns(store), campaign.id, table)
    assert (found.stored, found.known, len(found.skipped)) == (0, 0, 1)
    assert snapshot(store) == before


def test_a_table_that_is_refused_as_a_whole_leaves_nothing(store: Library, campaign: Any, tmp_path: Path) -> None:
    good = good_row(store, campaign)
    before = snapshot(store)
    for rows in ([{**good, "note": "a\0b"}], [{name: text for name, text in good.items() if name != "labeller"}]):
        with pytest.raises(DailiesError):
            import_votes(Campaigns(store), campaign.id, write_table(tmp_path / "votes.csv", [good, *rows][-1:]))
    assert snapshot(store) == before


def test_the_good_rows_of_a_table_are_as_if_the_bad_ones_were_not_there(
    store: Library, campaign: Any, tmp_path: Path
) -> None:
    good = good_row(store, campaign)
    bad = {**good_row(store, campaign, "bob"), "axis:smell": "left"}
    found = import_votes(Campaigns(store), campaign.id, write_table(tmp_path / "votes.csv", [bad, good, good, bad]))
    assert (found.stored, found.known, len(found.skipped)) == (1, 1, 2)
    assert [one.vote.labeller for one in Campaigns(store).votes(campaign.id)] == ["ann"]
    assert [one["labeller"] for one in snapshot(store)["rows"]["assignments"]] == ["ann"]


def test_a_database_that_fails_in_the_middle_takes_no_vote(
    store: Library, campaign: Any, tmp_path: Path, library: Any
) -> None:
    rows = [good_row(store, campaign), {**good_row(store, campaign, "bob")}]
    before = snapshot(store)
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE votes RENAME TO elsewhere")
    with pytest.raises(StoreError):
        import_votes(Campaigns(store), campaign.id, write_table(tmp_path / "votes.csv", rows))
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO votes")
    assert snapshot(store) == before


def test_a_vote_that_is_refused_leaves_nothing(store: Library, campaign: Any) -> None:
    campaigns = Campaigns(store)
    one = campaigns.next_pairs(campaign.id, "ann")[0]
    fields = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip, "client_uuid": "12345678"}
    before = snapshot(store)
    for change in ({"note": "\0"}, {"axes": {"smell": "left"}}, {"shown_left": one.right_clip}):
        for verb in (campaigns.vote, campaigns.edit):
            with pytest.raises(DailiesError):
                verb(Vote.read({**fields, **change}, "ann"))
    for name in ("", "a\0b", "x" * 201):
        with pytest.raises(DailiesError):
            campaigns.next_pairs(campaign.id, name)
    with pytest.raises(StoreError):
        campaigns.undo(campaign.id, "ann", "12345678")
    assert snapshot(store) == before


# ---- Campaigns
def a_checkpoint(store: Library) -> str:
    run = Run.create(store.workspace, load_train_preset("mini_grpo"))
    folder = run.checkpoints / f"{CHECKPOINT}4"
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"weights")
    return f"{run.id}@4"


def test_a_campaign_that_is_refused_publishes_no_checkpoint(store: Library) -> None:
    entrants = (Entrant(), Entrant(adapter=a_checkpoint(store)))
    before = snapshot(store)
    bad: list[dict[str, Any]] = [
        {"entrants": (*entrants, Entrant(adapter="gone"))},
        {"settings": {"num_frames": 3}},
        {"prompts": tuple(f"{number}" for number in range(11)), "takes": 100, "entrants": entrants[1:]},
        {"title": "a\0b"},
    ]
    for change in bad:
        with pytest.raises(ConfigError):
            spec = CampaignSpec(**{"title": "t", "prompts": ("a star",), "entrants": entrants, **change})
            create_campaign(JobQueue(store), Campaigns(store), spec)
        assert snapshot(store) == before, change
    with pytest.raises(ConfigError):
        spec = CampaignSpec(title="t", prompts=("a star",), entrants=entrants)
        create_campaign(JobQueue(store), Campaigns(store), spec, "no such mix")
    assert snapshot(store) == before


# ---- Pairs, archives, clips
def a_folder(place: Path, *changes: dict[str, Any]) -> Path:
    """A table of one good row and others, with its clips."""
    row = {"prompt": "p", "chosen": a_video(place / "a.mkv", 1), "rejected": a_video(place / "b.mkv", 2)}
    a_video(place / "large.mkv", 3, size=64)
    lines = "".join(json.dumps({**row, **change}) + "\n" for change in ({}, *changes))
    (place / "pairs.jsonl").write_text(lines)
    return place


BAD_ROWS: list[dict[str, Any]] = [
    {"rejected": "gone.mkv"},
    {"rejected": "large.mkv"},
    {"rejected": "a.mkv"},
    {"rejected": "../b.mkv"},
    {"chosen": "a\0b.mkv"},
    {"prompt": ""},
    {"prompt": "a\0b"},
    {"prompt": "x" * 10_000},
    {"margin": "abc"},
    {"margin": "nan"},
    {"margin": 7},
    {"score": "-1"},
]


def test_rows_of_pairs_that_are_refused_bring_no_clip(store: Library, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "in", *BAD_ROWS)
    found = import_pairs(store, folder, "mine")
    assert found.pairs == 1 and len(found.skipped) == len(BAD_ROWS)
    whole = snapshot(store)
    alone = a_folder(tmp_path / "alone")
    assert len(store.clips()) == 2
    found.file.unlink()
    import_pairs(store, alone, "mine")
    assert snapshot(store)["files"] == whole["files"]


@pytest.mark.parametrize("change", BAD_ROWS)
def test_pairs_that_are_refused_as_a_whole_leave_nothing(
    store: Library, tmp_path: Path, change: dict[str, Any]
) -> None:
    folder = a_folder(tmp_path / "in", change)
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    (folder / "pairs.jsonl").write_text(lines[1] + "\n")
    before = snapshot(store)
    with pytest.raises(ConfigError):
        import_pairs(store, folder, "mine")
    assert snapshot(store) == before


def test_a_later_table_that_cannot_be_read_refuses_the_whole_import(store: Library, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "in")
    (folder / "z.parquet").write_text("{")
    before = snapshot(store)
    with pytest.raises(ConfigError):
        import_pairs(store, folder, "mine")
    assert snapshot(store) == before


def fails(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_pairs_on_a_disk_that_is_full_leave_nothing(
    store: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_folder(tmp_path / "in")
    before = snapshot(store)
    for module, name in ((pair_exchange, "write_text_atomic"), (video_import, "save_clip")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fails)
            with pytest.raises((StoreError, OSError)):
                import_pairs(store, folder, "mine")
        assert snapshot(store) == before


@pytest.mark.parametrize("spoil", ["not a zip", "damaged stream", "outside", "no table", "bad rows"])
def test_an_archive_that_is_refused_leaves_nothing(store: Library, tmp_path: Path, spoil: str) -> None:
    folder = a_folder(tmp_path / "in", {"rejected": "large.mkv"})
    if spoil == "bad rows":
        lines = (folder / "pairs.jsonl").read_text().splitlines()
        (folder / "pairs.jsonl").write_text(lines[1])
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as into:
        for path in sorted(folder.iterdir()):
            if spoil != "no table" or path.suffix == ".mkv":
                into.write(path, f"{'../' if spoil == 'outside' else ''}{path.name}")
    if spoil == "not a zip":
        archive.write_bytes(archive.read_bytes()[:100])
    if spoil == "damaged stream":
        content = archive.read_bytes()
        archive.write_bytes(content[:100] + b"\xff" * 100 + content[200:])
    before = snapshot(store)
    with pytest.raises(ConfigError):
        import_archive(store, archive)
    assert snapshot(store) == before


def test_an_archive_that_does_not_fit_on_the_disk_is_not_unpacked(
    store: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as into:
        into.writestr("a.mkv", b"0" * 1001)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    before = snapshot(store)
    with pytest.raises(ConfigError, match="unpacks to 1,001 bytes, but 1,000 are free"):
        import_archive(store, archive)
    assert snapshot(store) == before


def test_a_clip_that_the_database_refuses_leaves_no_file(store: Library, tmp_path: Path) -> None:
    video = tmp_path / a_video(tmp_path / "a.mkv", 1)
    before = snapshot(store)
    for prompt in ("a\0b", "half \ud800"):
        with pytest.raises(ConfigError, match="cannot be stored"):
            import_clip(store, video, prompt)
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE clips RENAME TO elsewhere")
    with pytest.raises(StoreError):
        import_clip(store, video, "p")
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO clips")
    assert snapshot(store) == before


def test_a_clip_that_was_there_outlives_a_refused_import_of_the_same(
    store: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = tmp_path / a_video(tmp_path / "a.mkv", 1)
    kept = import_clip(store, video, "p")
    before = snapshot(store)
    with monkeypatch.context() as patched:
        patched.setattr(Library, "add_clips", lambda *_: fails())
        with pytest.raises(OSError, match="space"):
            import_clip(store, video, "p")
    assert snapshot(store) == before and store.clip(kept.id) == kept


# ---- Uploads
def test_uploads_go_back_when_their_job_is_refused(store: Library, tmp_path: Path) -> None:
    sent = [tmp_path / a_video(tmp_path / f"{name}.mkv", 1) for name in "ab"]
    before = snapshot(store, tmp_path)
    with pytest.raises(ConfigError), kept_uploads(store.workspace, sent) as folder:
        assert {path.name for path in folder.iterdir()} == {"a.mkv", "b.mkv"}
        raise ConfigError("no such mix")
    with (
        pytest.raises(StoreError, match=r"'gone\.mkv' was not kept"),
        kept_uploads(store.workspace, [*sent, tmp_path / "gone.mkv"]),
    ):
        pytest.fail("one of them is gone")
    after = snapshot(store, tmp_path)
    after["files"].pop(str(store.workspace.uploads), None)
    assert after == before


# ---- Runs and presets
def test_a_run_that_cannot_be_written_leaves_no_folder(
    store: Library, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = Campaigns(store).create(CampaignSpec(title="t", clip_ids=library(1, 2)))
    one = Campaigns(store).next_pairs(campaign.id, "ann")[0]
    fields = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip, "client_uuid": "12345678"}
    Campaigns(store).vote(Vote.read(fields, "ann"))
    preset = change_preset(load_train_preset("mini_dpo"), {"campaign": campaign.id, "pairs": None})
    store.workspace.runs.mkdir(exist_ok=True)
    before = snapshot(store)
    with monkeypatch.context() as patched:
        patched.setattr("engine.labelling.run_dataset.write_text_atomic", fails)
        with pytest.raises(StoreError, match="cannot be written"):
            create_run(store, preset)
    assert snapshot(store) == before
    assert create_run(store, preset).pairs_file.is_file()


def test_a_preset_is_whole_or_not_there_and_saved_again_the_same(
    store: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = change_preset(load_train_preset("mini_grpo"), {"key": "mine", "title": "Mine"})
    store.workspace.saved.joinpath("train").mkdir(parents=True)
    before = snapshot(store)
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", fails)
        with pytest.raises(StoreError):
            save_train_preset(store.workspace, preset)
    with pytest.raises(ConfigError, match="TOML"):
        save_train_preset(store.workspace, change_preset(preset, {"settings": {"neftune_noise_alpha": math.inf}}))
    assert snapshot(store) == before
    assert save_train_preset(store.workspace, preset) == save_train_preset(store.workspace, preset)
    with pytest.raises(ConfigError, match="already"):
        save_train_preset(store.workspace, change_preset(preset, {"title": "Other"}))


def test_the_snapshot_sees_what_changes(store: Library) -> None:
    """The snapshot sees a row, a file and an empty folder."""
    before = snapshot(store)
    save_clip(store.workspace, "1" * 16, Clip(frames=np.zeros((5, 32, 32, 3), np.uint8), fps=8.0, prompt="p"))
    assert snapshot(store) != before
    between = snapshot(store)
    store.add_clip(ClipRecord(id="1" * 16, prompt="p", source="imported", num_frames=5, width=32, height=32, fps=8.0))
    assert snapshot(store) != between


def test_of_two_presets_of_one_name_saved_at_once_one_is_refused(
    store: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looked before the first was written."""
    preset = change_preset(load_train_preset("mini_nft"), {"title": "First"}).model_copy(update={"key": "mine"})
    path = save_train_preset(store.workspace, preset)
    monkeypatch.setattr("engine.config.presets.preset_keys", lambda kind: [])
    with pytest.raises(ConfigError, match="'mine' exists already"):
        save_train_preset(store.workspace, preset.model_copy(update={"title": "Second"}))
    assert "First" in path.read_text()
