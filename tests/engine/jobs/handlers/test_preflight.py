"""The look at a preset before it is trained, as a job."""

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pytest

from engine.config.presets import load_train_preset
from engine.errors import ConfigError, JobError
from engine.jobs.context import JobContext
from engine.jobs.handlers.preflight import run_preflight
from engine.jobs.spec import PreflightConfig
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote
from engine.runs.run import list_runs
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace
from rewards.clip import Clip

SMALL = {
    "num_frames": 9,
    "num_steps": 2,
    "num_generations": 2,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
}


def drained(run: Generator[Any, None, dict[str, Any]]) -> dict[str, Any]:
    while True:
        try:
            next(run)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@pytest.fixture
def database() -> str:
    """The check of a preset does not depend on the database."""
    return "sqlite"


@pytest.fixture
def context(store: Library) -> JobContext:
    return JobContext(store=store)


@pytest.mark.timeout(400)
def test_every_verdict_comes_back_and_nothing_is_kept(context: JobContext) -> None:
    preset = load_train_preset("mini_nft", {"settings": SMALL})
    found = drained(run_preflight(PreflightConfig(preset=preset), context))["verdicts"]
    assert {"memory", "frames", "rewards"} <= {row["name"] for row in found}
    memory = next(row for row in found if row["name"] == "memory")
    assert memory["level"] == "ok" and "it fits" in memory["sentence"]
    assert list_runs(context.store.workspace) == [] and list(context.store.workspace.tmp.iterdir()) == []


def a_campaign(store: Library, votes: Sequence[str]) -> str:
    """Two clips of one prompt, and a labeller for each vote."""
    ids = []
    for number in (1, 2):
        frames = np.random.default_rng(number).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
        ids.append(f"{number:016x}")
        save_clip(store.workspace, ids[-1], Clip(frames=frames, fps=8.0, prompt="a red ball"))
        shape = {"num_frames": 9, "width": 64, "height": 64, "fps": 8.0}
        record = ClipRecord(id=ids[-1], prompt="a red ball", source="generated", model=f"m{number}", **shape)
        store.add_clip(record)
    campaigns = Campaigns(store)
    campaign = campaigns.create(CampaignSpec(title="c", clip_ids=tuple(ids), labellers_per_pair=2)).id
    for name, choice in zip(("ann", "bob"), votes, strict=False):
        (one,) = campaigns.next_pairs(campaign, name)
        said = {"pair_id": one.pair_id, "choice": choice, "shown_left": one.left_clip, "client_uuid": f"0000{name}-1"}
        campaigns.vote(Vote.read(said, name))
    return campaign


@pytest.mark.timeout(400)
def test_a_preset_on_a_campaign_is_looked_at_with_the_campaigns_pairs(workspace: Workspace) -> None:
    """`Train DPO on these` opens the form with a campaign: its check is the one that people press first."""
    store = Library(workspace)
    sizes = {"num_frames": 9, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    changes = {"campaign": a_campaign(store, ["left"]), "pairs": None, "settings": sizes}
    preset = load_train_preset("mini_dpo", changes)
    found = drained(run_preflight(PreflightConfig(preset=preset), JobContext(store=store)))["verdicts"]
    assert {row["name"]: row["level"] for row in found}["clips"] == "ok"
    assert list_runs(workspace) == [] and list(workspace.tmp.iterdir()) == []
    store.close()


def test_a_campaign_without_preferences_says_so_at_once(context: JobContext) -> None:
    changes = {"campaign": a_campaign(context.store, ["tie"]), "pairs": None}
    config = PreflightConfig(preset=load_train_preset("mini_dpo", changes))
    with pytest.raises(ConfigError, match="The 1 votes of the campaign 'c' prefer no clip"):
        drained(run_preflight(config, context))
    assert list(context.store.workspace.tmp.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_preset_that_cannot_be_built_says_why(context: JobContext) -> None:
    preset = load_train_preset("mini_nft", {"settings": {"learnin_rate": 1.0}})
    with pytest.raises(JobError, match="The preset was not checked: Unknown setting 'learnin_rate'"):
        drained(run_preflight(PreflightConfig(preset=preset), context))


def test_an_adapter_that_is_gone_is_named(context: JobContext) -> None:
    config = PreflightConfig(preset=load_train_preset("mini_nft"), adapter="gone")
    with pytest.raises(ConfigError, match="Unknown adapter 'gone'"):
        drained(run_preflight(config, context))
