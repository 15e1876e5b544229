"""`dailies campaigns head`: a reward head from votes, declared as a reward, and used in a mix."""

import json
import uuid
from contextlib import closing

import numpy as np
import pytest

from engine.cli.main import main
from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.labelling.campaigns import Campaigns
from engine.labelling.stats.campaign_head import train_campaign_head
from engine.labelling.votes import Vote
from engine.storage.clip_files import load_clip, remove_files, save_clip
from engine.storage.library import ClipRecord, Library
from rewards import reward_spec
from rewards.clip import Clip
from rewards.external.registry import close_external
from rewards.suite import RewardSuite

MIX = """
title = "Small"
calibration = "mini"
[weights]
framing = 1.0
[backends]
lpips = "mini"
video = "mini"
clip = "mini"
"""
NUM_PROMPTS, NUM_FRAMES = 20, 9


@pytest.fixture
def campaign(workspace, capsys):
    """A voted campaign: two clips of each prompt with a moving square; labellers prefer the redder one."""
    (workspace.saved / "rewards").mkdir(parents=True)
    (workspace.saved / "rewards" / "small.toml").write_text(MIX)
    random, ids, redness = np.random.default_rng(0), [], {}
    store = Library(workspace)
    for number in range(2 * NUM_PROMPTS):
        colour = random.integers(0, 256, 3)
        frames = np.full((NUM_FRAMES, 32, 32, 3), 90, np.uint8)
        for index, frame in enumerate(frames):
            frame[8:20, index : index + 12] = colour
        clip_id, prompt = f"{number + 1:016x}", f"a square moving right, number {number // 2}"
        save_clip(workspace, clip_id, Clip(frames=frames, fps=8.0, prompt=prompt))
        shape = {"num_frames": NUM_FRAMES, "width": 32, "height": 32, "fps": 8.0, "source": "generated"}
        store.add_clip(ClipRecord(id=clip_id, prompt=prompt, model=f"m{number % 2}", **shape))
        ids.append(clip_id)
        redness[clip_id] = int(colour[0]) - int(colour[1:].mean())
    store.close()
    assert main(["campaigns", "create", "squares", "--clips", *ids, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    store = Library(workspace)
    campaigns = Campaigns(store)
    while ahead := campaigns.next_pairs(made["id"], "ann"):
        shown = ahead[0]
        choice = "left" if redness[shown.left_clip] > redness[shown.right_clip] else "right"
        fields = {"pair_id": shown.pair_id, "choice": choice, "shown_left": shown.left_clip, "ms": 900}
        campaigns.vote(Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, "ann"))
    store.close()
    yield made["id"], redness
    close_external()


def test_a_head_is_trained_declared_and_scores_like_its_voters(campaign, workspace, capsys):
    campaign_id, redness = campaign
    assert main(["campaigns", "head", campaign_id, "redder", "--mix", "small", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["pairs"] == NUM_PROMPTS and card["prompts"] == NUM_PROMPTS and card["rewards"] == ["framing"]
    assert card["accuracy"] >= card["mix_accuracy"]
    assert load_preset("external_rewards", "redder").title == "Votes: squares"
    assert "20 votes on 20 pairs" in reward_spec("redder").question
    mix = load_preset("rewards", "small").model_copy(update={"weights": {"redder": 1.0, "framing": 1.0}})
    chosen = list(redness)[:14]
    clips = {clip_id: load_clip(workspace, clip_id) for clip_id in chosen}
    reports = dict(zip(clips, RewardSuite(mix).score_many(list(clips.values())), strict=True))
    values = [reports[clip_id].parts["redder"] for clip_id in chosen]
    assert np.corrcoef(values, [redness[clip_id] for clip_id in chosen])[0, 1] > 0.5
    result = next(iter(reports.values())).results["redder"]
    assert 0 < result.confidence <= 1 and result.backend == "head redder"
    assert main(["rewards", "test", "redder"]) == 0
    assert "declaration" in capsys.readouterr().out


def test_a_missing_clip_costs_its_pair_and_a_mix_without_built_in_rewards_is_refused(campaign, workspace, capsys):
    campaign_id, redness = campaign
    alone = MIX.replace("framing = 1.0", "nothing = 1.0")
    (workspace.saved / "external_rewards").mkdir(exist_ok=True)
    (workspace.saved / "external_rewards" / "nothing.toml").write_text(
        'title = "N"\n[http]\nurl = "http://127.0.0.1:9/"\n'
    )
    (workspace.saved / "rewards" / "alone.toml").write_text(alone)
    assert main(["campaigns", "head", campaign_id, "redder", "--mix", "alone"]) == 2
    assert "'alone' has no built-in reward" in capsys.readouterr().err
    remove_files(workspace, next(iter(redness)))
    with pytest.raises(ConfigError, match="got 19 pairs of 19 prompts"), closing(Library(workspace)) as store:
        list(
            train_campaign_head(Campaigns(store), campaign_id, "small", workspace.saved / "external_rewards", "redder")
        )


def test_names_in_use_and_bad_names_are_refused(campaign, capsys):
    campaign_id, _ = campaign
    for name, message in (("framing", "exists already"), ("a b", "letters, digits"), ("../x", "letters, digits")):
        assert main(["campaigns", "head", campaign_id, name, "--mix", "small"]) == 2
        assert message in capsys.readouterr().err


def test_weights_of_a_head_that_was_saved_meanwhile_are_not_replaced(campaign, workspace):
    folder = workspace.saved / "external_rewards"
    with closing(Library(workspace)) as store:
        steps = train_campaign_head(Campaigns(store), campaign[0], "small", folder, "redder")
        next(steps)
        folder.mkdir()
        (folder / "redder.toml").write_text('title = "Other"\n[head]\nfile = "redder.safetensors"\n')
        (folder / "redder.safetensors").write_bytes(b"of the other")
        with pytest.raises(ConfigError, match="'redder' exists already"):
            list(steps)
    assert (folder / "redder.safetensors").read_bytes() == b"of the other"
    assert sorted(file.name for file in folder.iterdir()) == ["redder.safetensors", "redder.toml"]


def test_a_torn_head_is_a_missing_reward(campaign, workspace, capsys):
    campaign_id, redness = campaign
    assert main(["campaigns", "head", campaign_id, "redder", "--mix", "small"]) == 0
    file = workspace.saved / "external_rewards" / "redder.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    mix = load_preset("rewards", "small").model_copy(update={"weights": {"redder": 1.0, "framing": 1.0}})
    report = RewardSuite(mix).score(load_clip(workspace, next(iter(redness))))
    assert report.parts["redder"] is None and "redder.safetensors" in report.missing["redder"]
