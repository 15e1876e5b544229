"""A workspace that is restored from a backup, or copied elsewhere, says the same of its runs, campaigns and jobs."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cli.main import main
from engine.config.curriculum_preset import CurriculumPreset
from engine.config.presets import load_curriculum, load_train_preset
from engine.files.manifests import write_manifest
from engine.jobs.handlers.train import publish
from engine.jobs.kinds import KINDS
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import run_states
from engine.jobs.spec import JobSpec
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.pair_tables import read_pairs
from engine.labelling.run_dataset import read_lineage
from engine.labelling.stats.agreement import agreement
from engine.labelling.stats.ranking import rank, vote_table
from engine.labelling.votes import Vote
from engine.runs.adapters import AdapterCard, newest_of_runs, write_card
from engine.runs.curriculum_state import AttemptRecord, Curriculum, CurriculumState, list_curricula
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.storage.backups import back_up
from engine.storage.clip_files import load_clip, save_clip
from engine.storage.library import ClipFilter, ClipRecord, Library
from engine.training.run_creation import create_run
from engine.workspace import Workspace
from rewards.clip import Clip

PROMPTS = ("a red ball", "a blue ball", "a green ball")


@pytest.fixture(autouse=True)
def own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup and a copy hold the workspace's own database; a server's is left to its own tools."""
    monkeypatch.delenv("DAILIES_DATABASE_URL", raising=False)


@pytest.fixture
def lived_in(workspace: Workspace) -> Iterator[Workspace]:
    """Clips, a campaign with votes of every kind, runs in every state, a curriculum and jobs."""
    store = Library(workspace)
    campaigns, queue = Campaigns(store), JobQueue(store, KINDS)
    campaign = vote(store, campaigns)
    on_votes = {"algorithm": "dpo", "pairs": None, "campaign": campaign, "mix": None, "prompts": None, "settings": {}}
    learned = create_run(store, load_train_preset("mini_nft", on_votes))
    pairs = workspace.pairs / "bought.jsonl"
    pairs.parent.mkdir(exist_ok=True)
    pairs.write_text(learned.pairs_file.read_text().replace("../../clips", "../clips"))
    on_file = {**on_votes, "campaign": None, "pairs": str(pairs)}
    finished, stopped = (create_run(store, load_train_preset("mini_nft", on_file)) for _ in range(2))
    for step in (1, 2):
        stopped.append_metrics(step, {"loss": 1 / step, "of": 4, "at": 1e9 + step})
    checkpoint = stopped.checkpoints / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    write_manifest(checkpoint)
    stopped.append_alarm(Alarm(step=2, name="kl", sentence="It drifts.", value=2.0, limit=1.0))
    finished.adapter.mkdir()
    (finished.adapter / "pytorch_lora_weights.safetensors").write_bytes(b"weights")
    write_card(finished.adapter, AdapterCard(model="mini"))
    publish(finished, workspace)
    plan: CurriculumPreset = load_curriculum("mini_lengths")
    record = AttemptRecord(stage=0, attempt=0, run=finished.id, num_frames=17)
    Curriculum.create(workspace, plan).save(CurriculumState(attempts=(record,)))
    queue.submit(JobSpec.train(stopped.id))
    queue.cancel(queue.submit(JobSpec.train(learned.id)).id)
    store.close()
    yield workspace


def vote(store: Library, campaigns: Campaigns) -> str:
    """A closed campaign, and one that is under way."""
    ids = []
    for prompt in PROMPTS:
        for model in ("m0", "m1"):
            ids.append(f"{len(ids) + 1:016x}")
            frames = np.random.default_rng(len(ids)).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
            save_clip(store.workspace, ids[-1], Clip(frames=frames, fps=8.0, prompt=prompt))
            shape = {"num_frames": 5, "width": 32, "height": 32, "fps": 8.0}
            store.add_clip(ClipRecord(id=ids[-1], prompt=prompt, source="generated", model=model, **shape))
    store.star(ids[:1])
    spec = CampaignSpec(title="balls", clip_ids=tuple(ids), labellers_per_pair=2, axes=("motion",))
    closed, open_ = campaigns.create(spec), campaigns.create(spec)
    for campaign, people in ((closed, ("ann", "bob")), (open_, ("ann",))):
        for name in people:
            for one in campaigns.next_pairs(campaign.id, name):
                fields = {"pair_id": one.pair_id, "shown_left": one.left_clip, "note": "=1", "axes": {"motion": "tie"}}
                chosen = {"choice": "left" if int(one.left_clip, 16) % 2 else "right"}
                campaigns.vote(Vote.read({**fields, **chosen, "client_uuid": str(uuid.uuid4())}, name))
    campaigns.undo(open_.id, "ann")
    campaigns.close(closed.id)
    store.delete(ids[-1:])
    return closed.id


def told(workspace: Workspace) -> dict[str, Any]:
    """All that the page and the shell tell of a workspace, its own place left out."""
    store = Library(workspace)
    try:
        campaigns, queue = Campaigns(store), JobQueue(store, KINDS)
        voted = {one.id: campaigns.votes(one.id) for one in campaigns.list()}
        states = run_states(queue)
        return {
            "clips": [*store.clips(ClipFilter()), *store.clips(ClipFilter(deleted=True))],
            "frames": [int(load_clip(workspace, one.id).frames.sum()) for one in store.clips(ClipFilter())],
            "campaigns": campaigns.list(),
            "pairs": [campaigns.pairs(one) for one in voted],
            "votes": voted,
            "ranking": [rank(vote_table(votes)) for votes in voted.values()],
            "agreement": [agreement(votes).alpha for votes in voted.values()],
            "next": campaigns.next_pairs(campaigns.list()[0].id, "ann"),
            "jobs": [(job.id, job.kind, job.status, job.position) for job in queue.list()],
            "runs": [(one.run.id, one.state, one.step, one.of, one.can_resume, one.can_extend) for one in states],
            "metrics": [one.run.metrics() for one in states],
            "alarms": [one.run.alarms() for one in states],
            "lineage": [read_lineage(one.run) for one in states],
            "checkpoints": [one.run.series.newest_whole() and one.run.series.listed()[-1].name for one in states],
            "pairs of runs": [_pairs(one.run) for one in states],
            "adapters": {run: adapter.name for run, adapter in newest_of_runs(workspace).items()},
            "curricula": [(one.id, one.state(), one.preset()) for one in list_curricula(workspace)],
        }
    finally:
        store.close()


def _pairs(run: Run) -> list[tuple[str, int]]:
    """What a run learns from, by the contents of its clips: they are found wherever the workspace lies."""
    file = Path(str(run.preset().pairs)) if run.preset().pairs else run.pairs_file
    assert file.resolve().is_relative_to(run.workspace.root), "its own pairs, not those of the workspace it came from"
    rows = read_pairs(file)
    return [(row[side + "_clip"], Path(row[side]).stat().st_size) for row in rows for side in ("chosen", "rejected")]


def restored(workspace: Workspace, elsewhere: Path) -> Workspace:
    """After the database was lost."""
    back_up(workspace.database, workspace, "request")
    workspace.database.write_bytes(b"garbage")
    assert main(["database", "restore", "--json"]) == 0
    return workspace


def copied(workspace: Workspace, elsewhere: Path) -> Workspace:
    """As `cp -r` does: every modification time is new."""
    shutil.copytree(workspace.root, elsewhere, copy_function=shutil.copyfile)
    return Workspace(elsewhere)


def moved(workspace: Workspace, elsewhere: Path) -> Workspace:
    shutil.move(workspace.root, elsewhere)
    return Workspace(elsewhere)


@pytest.mark.parametrize("how", [restored, copied, moved])
def test_runs_and_campaigns_come_back_as_they_were(
    lived_in: Workspace, tmp_path: Path, how: Callable[[Workspace, Path], Workspace]
) -> None:
    before = told(lived_in)
    assert len(before["runs"]) == 3 and len({state for _, state, *_ in before["runs"]}) == 3
    assert sum(len(votes) for votes in before["votes"].values()) > 6 and before["pairs of runs"][0]
    after = told(how(lived_in, tmp_path / "elsewhere"))
    for name in before:
        assert after[name] == before[name], name
