"""Pairs and votes go out and come back in every layout, and what cannot be used is named."""

import csv
import json
import sqlite3
import uuid
from contextlib import closing

import numpy as np
import pytest

from engine.config.presets import load_train_preset
from engine.errors import ConfigError, StoreUnavailable
from engine.labelling import pair_exchange
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_exchange import LAYOUTS, export_pairs, import_pairs
from engine.labelling.preference_pairs import preference_pairs
from engine.labelling.run_dataset import read_lineage
from engine.labelling.vote_csv import export_votes, import_votes
from engine.labelling.votes import Vote
from engine.storage.clip_files import load_clip, remove_files, save_clip
from engine.storage.library import ClipRecord, Library
from engine.training.run_creation import create_run
from engine.workspace import Workspace
from rewards.clip import Clip

PROMPT = 'a "red" ball, <b>fast</b>'


@pytest.fixture
def labelled(store):
    """A campaign of three pairs of real clips; on two of them, two votes prefer the first clip."""
    ids = []
    for prompt in (PROMPT, "a blue ball", "a tie"):
        for model in ("m0", "m1"):
            ids.append(f"{len(ids) + 1:016x}")
            frames = np.random.default_rng(len(ids)).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
            save_clip(store.workspace, ids[-1], Clip(frames=frames, fps=8.0, prompt=prompt))
            shape = {"num_frames": 5, "width": 32, "height": 32, "fps": 8.0}
            store.add_clip(ClipRecord(id=ids[-1], prompt=prompt, source="generated", model=model, **shape))
    campaigns = Campaigns(store)
    spec = CampaignSpec(title="balls", clip_ids=tuple(ids), labellers_per_pair=2, axes=("motion",))
    campaign = campaigns.create(spec)
    for name in ("ann", "bob"):
        for one in campaigns.next_pairs(campaign.id, name):
            best = "left" if int(one.left_clip, 16) % 2 else "right"
            choice = "tie" if one.prompt == "a tie" else best
            fields = {"pair_id": one.pair_id, "choice": choice, "shown_left": one.left_clip, "note": "=1+1, <i>"}
            campaigns.vote(Vote.read({**fields, "client_uuid": str(uuid.uuid4()), "axes": {"motion": "left"}}, name))
    return campaigns, campaign


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another installation."""
    monkeypatch.delenv("DAILIES_DATABASE_URL", raising=False)
    other = Library(Workspace(tmp_path / "elsewhere").prepare())
    yield other
    other.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_go_out_and_come_back_in_every_layout(labelled, elsewhere, tmp_path, layout):
    campaigns, campaign = labelled
    pairs = preference_pairs(campaigns.votes(campaign.id))
    assert [pair.margin for pair in pairs] == [1.0, 1.0]
    assert export_pairs(campaigns.store, pairs, tmp_path / "out", layout, campaign.title) == []
    found = import_pairs(elsewhere, tmp_path / "out", "balls")
    rows = [json.loads(line) for line in found.file.read_text().splitlines()]
    assert (found.pairs, found.skipped) == (2, ())
    assert {row["prompt"] for row in rows} == {PROMPT, "a blue ball"}
    for row, pair in zip(rows, pairs, strict=True):
        assert row["source"] == "dataset" and (found.file.parent / row["chosen"]).is_file()
        if layout != "videodpo":  # which has neither
            assert (row["margin"], row["votes"]) == (pair.margin, pair.votes) == (1.0, 2)
        for side in ("chosen", "rejected"):
            mine = load_clip(campaigns.store.workspace, getattr(pair, side)).frames
            assert np.array_equal(load_clip(elsewhere.workspace, row[f"{side}_clip"]).frames, mine)


def test_other_libraries_read_what_was_exported(labelled, tmp_path):
    campaigns, campaign = labelled
    pairs = preference_pairs(campaigns.votes(campaign.id))
    for layout in LAYOUTS:
        export_pairs(campaigns.store, pairs, tmp_path / layout, layout, campaign.title)
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(tmp_path / "huggingface"), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.num_rows == 2 and {"prompt", "chosen", "rejected", "margin"} <= set(found.column_names)
    metadata = json.loads((tmp_path / "videodpo" / "metadata.json").read_text())
    (first, _) = json.loads((tmp_path / "videodpo" / "pair.json").read_text())
    assert set(first) == {"video1", "video2", "frame_caption"}
    assert metadata[first["video1"]]["basic"]["clip_path"] == f"clips/{pairs[0].chosen}.mkv"
    assert metadata[0]["basic"]["clip_duration"] == 5 / 8


def test_videodpos_scores_are_kept(labelled, elsewhere, tmp_path):
    campaigns, campaign = labelled
    export_pairs(campaigns.store, preference_pairs(campaigns.votes(campaign.id)), tmp_path / "v", "videodpo", "t")
    listed = json.loads((tmp_path / "v" / "pair.json").read_text())
    listed[0]["score"] = 0.36
    (tmp_path / "v" / "pair.json").write_text(json.dumps(listed))
    found = import_pairs(elsewhere, tmp_path / "v", "v")
    assert [json.loads(line).get("score") for line in found.file.read_text().splitlines()] == [0.36, None]


def test_a_table_with_bad_rows_comes_in_without_them(labelled, elsewhere, tmp_path):
    campaigns, campaign = labelled
    out = tmp_path / "out"
    (pair, *_) = preference_pairs(campaigns.votes(campaign.id))
    export_pairs(campaigns.store, [pair], out, "trl", campaign.title)
    (out / "pairs.jsonl").unlink()
    good = {"prompt": "p", "chosen": f"clips/{pair.chosen}.mkv", "rejected": f"clips/{pair.rejected}.mkv"}
    (tmp_path / "secret.mkv").write_bytes((out / good["chosen"]).read_bytes())
    bad = [{"chosen": "../secret.mkv"}, {"rejected": "clips/gone.mkv"}, {"prompt": ""}, {"rejected": good["chosen"]}]
    with (out / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(good))
        writer.writeheader()
        writer.writerows([good, *({**good, **change} for change in bad)])
    found = import_pairs(elsewhere, out, "mine")
    assert found.pairs == 1
    reasons = ("no clip '../secret.mkv' in the folder", "no clip 'clips/gone.mkv'", "lacks prompt", "are the same")
    assert all(reason in said for reason, said in zip(reasons, found.skipped, strict=True))
    with pytest.raises(ConfigError, match="Pairs named 'mine' exist already"):
        import_pairs(elsewhere, out, "mine")


def test_nothing_is_said_about_files_outside(tmp_path):
    """A file that is there, one that is not, a loop of links and a name that is too long get one sentence."""
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "there.mkv").write_bytes(b"x")
    (tmp_path / "loop.mkv").symlink_to(tmp_path / "loop.mkv")
    names = ["there.mkv", "missing.mkv", "loop.mkv", "there.mkv/x.mkv", "x" * 300]
    for name in names:
        for path in (tmp_path / name, out / ".." / name):
            with pytest.raises(ConfigError, match=r"^there is no clip '.*' in the folder\.$"):
                pair_exchange._read_clip(path, "p", out)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.txt", "hello", "no known layout"),
        ("pairs.jsonl", "{", "Line 1: it is no JSON"),
        ("pairs.jsonl", "[1]", "no row"),
        ("pairs.csv", "prompt,chosen\n", "no usable pair"),
        ("pair.json", "{}", "no known layout"),
        ("pairs.csv", f"prompt,chosen\n{'a' * 131_073},b\n", "line 2 cannot be read as CSV: field larger"),
    ],
)
def test_a_folder_that_is_no_data_set_is_one_sentence(elsewhere, tmp_path, name, content, sentence):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        import_pairs(elsewhere, folder, "x")
    with pytest.raises(ConfigError, match="a plain word"):
        import_pairs(elsewhere, folder, "../x")


def test_a_damaged_videodpo_folder_is_one_sentence(elsewhere, tmp_path):
    (tmp_path / "metadata.json").write_text("[]")
    (tmp_path / "pair.json").write_text('[{"video1": 0, "video2": 1, "frame_caption": "a"}]')
    with pytest.raises(ConfigError, match="is not a VideoDPO folder"):
        import_pairs(elsewhere, tmp_path, "x")


def test_an_export_overwrites_nothing_and_says_what_is_gone(labelled, tmp_path):
    campaigns, campaign = labelled
    pairs = preference_pairs(campaigns.votes(campaign.id))
    remove_files(campaigns.store.workspace, pairs[0].chosen)
    (left_out,) = export_pairs(campaigns.store, pairs, tmp_path / "out", "trl", campaign.title)
    assert pairs[0].pair_id in left_out
    with pytest.raises(ConfigError, match="is not empty"):
        export_pairs(campaigns.store, pairs, tmp_path / "out", "trl", campaign.title)


def test_votes_go_out_as_csv_and_come_back_once(labelled, store, tmp_path):
    campaigns, campaign = labelled
    assert export_votes(campaigns, campaign.id, tmp_path / "votes.csv") == 6
    again = import_votes(campaigns, campaign.id, tmp_path / "votes.csv")
    assert (again.stored, again.known, again.skipped) == (0, 6, ())
    twin = campaigns.create(campaign.spec)
    with (tmp_path / "votes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["client_uuid"] = ""
    with (tmp_path / "theirs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, {**rows[0], "left_clip": "f" * 16}, {**rows[0], "labeller": "cy", "choice": "up"}])
    for counts in ((6, 0), (0, 6)):
        found = import_votes(campaigns, twin.id, tmp_path / "theirs.csv")
        assert (found.stored, found.known) == counts
    assert "no pair of" in found.skipped[0] and "choice = 'up'" in found.skipped[1]
    theirs = [(one.winner, one.vote.labeller, one.vote.axes, one.vote.note) for one in campaigns.votes(twin.id)]
    mine = [(one.winner, one.vote.labeller, one.vote.axes, one.vote.note) for one in campaigns.votes(campaign.id)]
    assert theirs == mine
    with pytest.raises(ConfigError, match="no column left_clip"):
        (tmp_path / "other.csv").write_text("a,b\n1,2\n")
        import_votes(campaigns, twin.id, tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("ms", "kept"),
    [("1500.0", 1500), ("1500", 1500), ("", None), ("²", "²"), ("9" * 5000, "999"), ("-1", "-1"), ("nan", "nan")],
)
def test_the_time_of_an_imported_vote_is_kept_or_refused(labelled, store, tmp_path, ms, kept):
    campaigns, campaign = labelled
    pair = campaigns.pairs(campaign.id)[0]
    table = tmp_path / "votes.csv"
    table.write_text(f"left_clip,right_clip,labeller,choice,ms\n{pair.clip_a},{pair.clip_b},cy,left,{ms}\n")
    found = import_votes(campaigns, campaign.id, table)
    if isinstance(kept, str):
        assert (found.stored, len(found.skipped)) == (0, 1)
        assert f"Line 2: ms = '{kept}" in found.skipped[0]
        return
    assert (found.stored, found.skipped) == (1, ())
    assert [one.vote.ms for one in campaigns.votes(campaign.id) if one.vote.labeller == "cy"] == [kept]


def test_a_short_line_of_votes_hides_no_other(labelled, tmp_path):
    campaigns, campaign = labelled
    pair = campaigns.pairs(campaign.id)[0]
    table = tmp_path / "votes.csv"
    table.write_text(f"left_clip,right_clip,labeller,choice\n{pair.clip_a}\n{pair.clip_a},{pair.clip_b},cy,left\n")
    found = import_votes(campaigns, campaign.id, table)
    assert (found.stored, found.skipped) == (1, ("Line 2: it has 1 fields, but the header names 4 columns.",))


def preset_of(campaign_id: str, **changes):
    fields = {"algorithm": "dpo", "pairs": None, "campaign": campaign_id, "mix": None, "prompts": None, "settings": {}}
    return load_train_preset("mini_nft", {**fields, **changes})


def test_a_run_on_a_campaign_keeps_its_pairs_and_where_they_come_from(labelled, store):
    from engine.labelling.pair_tables import read_pairs

    campaigns, campaign = labelled
    run = create_run(store, preset_of(campaign.id))
    lineage = read_lineage(run)
    assert (lineage.campaign_id, lineage.votes, lineage.labellers) == (campaign.id, 6, ("ann", "bob"))
    rows = read_pairs(run.pairs_file)
    assert [row["pair_id"] for row in rows] == list(lineage.pair_ids) and len(rows) == 2
    assert all(load_clip(store.workspace, row["chosen_clip"]).prompt == row["prompt"] for row in rows)
    votes = {one.number: one for one in campaigns.votes(campaign.id)}
    for row in rows:
        told = [votes[number] for number in row["vote_numbers"]]
        assert [one.vote.labeller for one in told] == ["ann", "bob"] and row["votes"] == 2
        assert {one.winner for one in told} == {row["chosen_clip"]}
    campaigns.undo(campaign.id, "bob")
    assert read_lineage(run) == lineage  # what was trained on does not change afterwards


def test_a_run_on_a_campaign_without_preferences_is_refused(labelled, store):
    campaigns, campaign = labelled
    empty = campaigns.create(campaign.spec)
    with pytest.raises(ConfigError, match="The 0 votes .* prefer no clip: collect more votes"):
        create_run(store, preset_of(empty.id))
    for pair in preference_pairs(campaigns.votes(campaign.id)):
        remove_files(store.workspace, pair.rejected)
    with pytest.raises(ConfigError, match="are missing: generate them again"):
        create_run(store, preset_of(campaign.id))
    with pytest.raises(ConfigError, match="either pairs or campaign"):
        preset_of(campaign.id, pairs="x.jsonl")
    assert not list(store.workspace.runs.glob("*"))


def test_a_refused_import_leaves_no_file_in_the_way_of_the_next(labelled, elsewhere, tmp_path):
    """Another process holds the database's write lock."""
    campaigns, campaign = labelled
    export_pairs(campaigns.store, preference_pairs(campaigns.votes(campaign.id)), tmp_path / "out", "trl", "balls")
    busy = Library(elsewhere.workspace, busy_timeout_s=0.05)
    with closing(sqlite3.connect(elsewhere.workspace.database, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            import_pairs(busy, tmp_path / "out", "balls")
    busy.close()
    assert not list(elsewhere.workspace.pairs.iterdir()) and not list(elsewhere.workspace.clips.glob("*/*"))
    assert import_pairs(elsewhere, tmp_path / "out", "balls").pairs == 2
