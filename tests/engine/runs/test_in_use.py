"""Clips that a job, a run or a campaign still needs are neither deleted nor purged."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from engine.clock import now
from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, GateCondition, Stage
from engine.config.presets import load_train_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, StoreError
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.runs.curriculum_state import AttemptRecord, Curriculum, CurriculumState, GateResult
from engine.runs.in_use import check_unused, clips_in_use, user_of_run
from engine.runs.purge import purge
from engine.runs.run import Run
from engine.storage.library import Library
from engine.storage.schema import JOBS

GATE = CurriculumGate(conditions=(GateCondition(metric="mix", at_least=0.0),))
STAGES = tuple(Stage(name=name, preset="mini_nft", gate=GATE) for name in ("one", "two"))


@pytest.fixture
def users(store, library):
    """Clips in use by a waiting job, an open campaign (two) and an unfinished run; the last is not in use."""
    ids = library(3, 2)
    row = {"id": "0" * 8, "kind": "score", "status": "queued", "config": {"clip_ids": [ids[0]], "mix": "mini"}}
    with store.database.writing() as connection:
        connection.execute(JOBS.insert().values(**row, resources={}, created_at=now()))
    campaign = Campaigns(store).create(CampaignSpec(title="Two % models", clip_ids=ids[2:4]))
    run = Run(store.workspace.runs / "mini_dpo-1")
    run.folder.mkdir(parents=True)
    run.resolved.write_text("{}")
    run.pairs_file.write_text(json.dumps({"chosen_clip": ids[4], "rejected_clip": "f" * 16}) + "\n{torn")
    return {"job": ids[0], "campaign": ids[2], "run": ids[4], "nobody": ids[1]}, campaign, run


@pytest.mark.parametrize(
    ("who", "named"),
    [
        ("job", r"the job 00000000 \(score\)"),
        ("campaign", "the campaign 'Two % models'"),
        ("run", "the run mini_dpo-1"),
    ],
)
def test_what_is_needed_is_refused_with_its_name(store, users, who, named):
    clips, _, _ = users
    with pytest.raises(ConfigError, match=f"Nothing was deleted: 1 of 2 clips .*{named}"):
        check_unused(store, [clips[who], clips["nobody"]])
    check_unused(store, [clips["nobody"]])


def test_what_is_needed_is_not_purged_until_it_is_not(store, users):
    clips, campaign, run = users
    store.delete(list(clips.values()))
    assert purge(store, older_than=timedelta(0)) == 1
    assert set(store.deleted_ids()) == set(clips.values()) - {clips["nobody"]}
    Campaigns(store).close(campaign.id)
    run.adapter.mkdir()
    with store.database.writing() as connection:
        connection.execute(update(JOBS).values(status="done"))
    assert clips_in_use(store) == {}
    assert purge(store, older_than=timedelta(0)) == 3


def table(store: Library, clip_id: str) -> Path:
    """A table that leads to a clip by its file, as that of imported pairs does."""
    file = store.workspace.root / "pairs" / "mine.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"prompt": "a", "chosen": f"../clips/{clip_id}/frames.mkv"}) + "\n")
    return file


def dpo(**changes: Any) -> TrainPreset:
    return load_train_preset("mini_dpo", {"campaign": None, **changes})


def queue_job(store: Library, kind: str, config: dict[str, Any]) -> None:
    row = {"id": "1" * 8, "kind": kind, "status": "queued", "config": config}
    with store.database.writing() as connection:
        connection.execute(JOBS.insert().values(**row, resources={}, created_at=now()))


def by_run(store: Library, clip_id: str) -> str:
    return f"the run {Run.create(store.workspace, dpo(pairs=str(table(store, clip_id)))).id}"


def by_data(store: Library, clip_id: str) -> str:
    settings = {"data": str(table(store, clip_id))}
    return f"the run {Run.create(store.workspace, load_train_preset('mini_grpo', {'settings': settings})).id}"


def by_curriculum(store: Library, clip_id: str) -> str:
    changes = {"pairs": str(table(store, clip_id)), "campaign": None}
    stage = Stage(name="votes", preset="mini_dpo", changes=changes, gate=GATE)
    made = Curriculum.create(store.workspace, CurriculumPreset(key="c", title="C", stages=(stage,)))
    return f"the curriculum {made.id}"


def by_preflight(store: Library, clip_id: str) -> str:
    queue_job(store, "preflight", {"preset": dpo(pairs=str(table(store, clip_id))).model_dump(mode="json")})
    return "the job 11111111 (preflight)"


def by_overlays(store: Library, clip_id: str) -> str:
    queue_job(store, "overlays", {"clip_id": clip_id, "mix": "mini"})
    return "the job 11111111 (overlays)"


def by_judge(store: Library, clip_id: str) -> str:
    other = f"{1:016x}"
    campaign = Campaigns(store).create(CampaignSpec(title="Closed", clip_ids=(clip_id, other)))
    Campaigns(store).close(campaign.id)
    queue_job(store, "judge", {"campaign": campaign.id, "judge": "j"})
    return "the campaign 'Closed'"


@pytest.mark.parametrize("use", [by_run, by_data, by_curriculum, by_preflight, by_overlays, by_judge])
def test_whatever_leads_to_a_clip_uses_it(store: Library, library: Any, use: Callable[[Library, str], str]) -> None:
    clip_id = library(1, 2)[0]
    assert clips_in_use(store) == {}
    name = use(store, clip_id)
    with pytest.raises(ConfigError, match=re.escape(name)):
        check_unused(store, [clip_id])
    store.delete([clip_id])
    assert purge(store, older_than=timedelta(0)) == 0 and store.deleted_ids() == [clip_id]


def test_a_table_that_cannot_be_read_keeps_all_clips(store: Library, users: Any) -> None:
    clips, _, run = users
    run.pairs_file.unlink()
    run.pairs_file.mkdir()  # reading it is an OSError
    store.delete([clips["nobody"]])
    assert purge(store, older_than=timedelta(0)) == 0
    with pytest.raises(StoreError, match=r"pairs\.jsonl cannot be read .* not known which clips"):
        check_unused(store, [clips["nobody"]])
    run.pairs_file.rmdir()
    assert purge(store, older_than=timedelta(0)) == 1


def test_a_folder_that_cannot_be_read_keeps_all_clips(
    store: Library, library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip_id, denied = library(1, 1)[0], tmp_path / "denied"
    denied.mkdir()
    Run.create(store.workspace, load_train_preset("mini_dpo", {"pairs": str(denied)}))
    store.delete([clip_id])
    looked = Path.is_dir

    def is_dir(path: Path) -> bool:
        if path == denied:
            raise PermissionError(13, "Permission denied")
        return looked(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert purge(store, older_than=timedelta(0)) == 0
    with pytest.raises(StoreError, match=r"denied cannot be read \(Permission denied\)"):
        check_unused(store, [clip_id])


def test_a_curriculum_needs_the_runs_of_all_its_attempts(store: Library) -> None:
    made = Curriculum.create(store.workspace, CurriculumPreset(key="c", title="C", stages=STAGES))
    passed = GateResult(verdict="pass", action="advance", sentence="")
    attempts = [
        AttemptRecord(stage=0, attempt=0, run="first", num_frames=9, result=passed),
        AttemptRecord(stage=1, attempt=0, run="second", num_frames=9),
    ]
    made.save(CurriculumState(stage=1, start="first", attempts=tuple(attempts)))
    assert [user_of_run(store, run) for run in ("first", "second")] == [f"the curriculum {made.id}"] * 2
    broken = Curriculum.create(store.workspace, CurriculumPreset(key="d", title="D", stages=STAGES))
    broken.state_file.write_text("torn")
    assert user_of_run(store, "first") == f"the curriculum {made.id}" and user_of_run(store, "third") == ""
    made.save(CurriculumState(status="done", attempts=tuple(attempts)))
    assert user_of_run(store, "first") == ""
