"""Checkpoints of runs compete in campaigns as adapters, and stay when the run has cleared them away."""

import errno
import shutil

import pytest

from engine.config.presets import load_train_preset
from engine.errors import ConfigError, StoreError
from engine.families.lora_files import WEIGHTS_FILE
from engine.files.manifests import write_manifest
from engine.labelling.campaign_spec import CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.runs.adapters import find_adapter, list_adapters
from engine.runs.checkpoint_series import CHECKPOINT, step_of
from engine.runs.checkpoints import list_checkpoints, publish_named
from engine.runs.run import Run
from engine.storage.temp_folders import temp_folders


@pytest.fixture
def run(workspace):
    """A run with the checkpoints of steps 20 and 100, one without weights and one that was rejected."""
    run = Run.create(workspace, load_train_preset("mini_nft", {}))
    for name in (f"{CHECKPOINT}20", f"{CHECKPOINT}100", f"{CHECKPOINT}120", "rejected-140-ab"):
        (run.checkpoints / name).mkdir(parents=True)
        (run.checkpoints / name / "trainer_state.json").write_text("{}")
        if name != f"{CHECKPOINT}120":
            (run.checkpoints / name / WEIGHTS_FILE).write_bytes(name.encode())
        write_manifest(run.checkpoints / name)
    return run


def test_a_runs_checkpoints_are_listed_in_their_order(workspace, run):
    assert [one.name for one in list_checkpoints(workspace, "mini")] == [f"{run.id}@20", f"{run.id}@100"]
    assert list_checkpoints(workspace, "ltx") == []
    run.resolved.write_text("{")
    assert list_checkpoints(workspace) == []


def test_a_checkpoint_that_competes_becomes_an_adapter_and_stays(store, run):
    names = (f"{run.id}@20", f"{run.id}@100")
    entrants = (Entrant(), *(Entrant(adapter=name) for name in names))
    campaign = Campaigns(store).create(CampaignSpec(title="steps", prompts=("a red circle",), entrants=entrants))
    shutil.rmtree(run.checkpoints)
    for name, step in zip(names, (20, 100), strict=True):
        adapter = find_adapter(store.workspace, name, "mini")
        assert (adapter.folder / WEIGHTS_FILE).read_bytes() == f"{CHECKPOINT}{step}".encode()
        assert adapter.card.note == f"Run {run.id} after {step} steps."
    asked = {request.adapter for request in Campaigns(store).missing_requests(campaign.id)}
    assert asked == {None, *names} and temp_folders(store.workspace) == []
    again = CampaignSpec(title="again", prompts=("a star",), entrants=entrants)
    assert len(Campaigns(store).pairs(Campaigns(store).create(again).id)) == 3


def test_a_checkpoint_that_is_not_there_is_no_adapter(store, run):
    entrants = (Entrant(), Entrant(adapter=f"{run.id}@60"))
    with pytest.raises(ConfigError, match="Unknown adapter"):
        Campaigns(store).create(CampaignSpec(title="t", prompts=("a",), entrants=entrants))


def test_a_damaged_checkpoint_is_no_adapter(store, run):
    weights = run.checkpoints / f"{CHECKPOINT}100" / WEIGHTS_FILE
    weights.write_bytes(b"X" * weights.stat().st_size)
    entrants = (Entrant(), Entrant(adapter=f"{run.id}@100"))
    with pytest.raises(StoreError, match="is not as it was written"):
        Campaigns(store).create(CampaignSpec(title="t", prompts=("a",), entrants=entrants))
    weights.unlink()
    assert [one.step for one in list_checkpoints(store.workspace)] == [20]


def test_a_checkpoint_that_cannot_be_copied_leaves_nothing(store, run, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", fails)
    with pytest.raises(StoreError, match="cannot become an adapter: No space left"):
        publish_named(store.workspace, "mini", [f"{run.id}@20"])
    assert temp_folders(store.workspace) == [] and list_adapters(store.workspace) == []


@pytest.mark.parametrize(
    "name", ["checkpoint-²", "checkpoint-" + "9" * 5000, "checkpoint-", "checkpoint--1", "checkpoint-٣"]
)
def test_what_is_no_checkpoints_name_is_passed_over(workspace, run, name):
    if len(name) < 255:
        (run.checkpoints / name).mkdir()
        (run.checkpoints / name / "trainer_state.json").write_text("{}")
    assert step_of(run.checkpoints / name) is None
    assert [step_of(path) for path in run.series.listed()] == [20, 100, 120]
    assert [one.step for one in list_checkpoints(workspace)] == [20, 100]
    run.series.reject(0)
    assert run.series.listed() == []
