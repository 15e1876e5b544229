"""DPO run of a campaign, from votes to trained weights, through the calls of the page and the shell."""

import uuid

import numpy as np
import pytest

from engine.config.presets import load_train_preset
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.run_dataset import read_lineage
from engine.labelling.votes import Vote
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord
from engine.training.run_creation import create_run
from rewards.clip import Clip


@pytest.fixture
def campaign_id(store):
    """Two pairs of clips of the tiny model's size, each with a vote for one of them."""
    ids = []
    for number in range(4):
        ids.append(f"{number + 1:016x}")
        frames = np.random.default_rng(number).integers(0, 256, (17, 64, 64, 3), dtype=np.uint8)
        prompt = "a red circle moving left" if number < 2 else "a blue square moving up"
        save_clip(store.workspace, ids[-1], Clip(frames=frames, fps=8.0, prompt=prompt))
        shape = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "source": "generated"}
        store.add_clip(ClipRecord(id=ids[-1], prompt=prompt, model=f"m{number % 2}", **shape))
    campaigns = Campaigns(store)
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=tuple(ids)))
    for one in campaigns.next_pairs(campaign.id, "ann"):
        fields = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip}
        campaigns.vote(Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, "ann"))
    return campaign.id


def test_a_run_on_a_campaign_trains_on_its_pairs(store, campaign_id, tiny_model):
    from engine.training.build import build_trainer

    changes = {"algorithm": "dpo", "model": tiny_model, "campaign": campaign_id, "mix": None, "prompts": None}
    settings = {"max_steps": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "lora_rank": 2}
    preset = load_train_preset("mini_nft", changes).model_copy(update={"settings": settings})
    run = create_run(store, preset)
    trainer = build_trainer(run.preset(), run)
    rows = [dict(row) for row in trainer.train_dataset]
    assert {row["pair_id"] for row in rows} == set(read_lineage(run).pair_ids) and len(rows) == 2
    assert np.isfinite(trainer.train().training_loss)
    assert trainer.state.global_step == 2
