"""Deleted runs: moved to the trash as a whole, brought back, and removed for good after a week."""

from datetime import timedelta

import pytest

from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.files.locks import locked
from engine.jobs.queue import JobQueue
from engine.jobs.runs import run_actions
from engine.jobs.spec import JobSpec
from engine.runs.purge import deleted_runs, move_to_trash, purge, restore_runs
from engine.runs.run import Run, list_runs
from engine.storage.library import Library
from engine.workspace import Workspace


@pytest.fixture
def store(tmp_path: object) -> Library:
    return Library(Workspace(tmp_path))  # type: ignore[arg-type]


@pytest.fixture
def runs(store: Library) -> list[Run]:
    return [Run.create(store.workspace, load_train_preset("mini_nft")) for _ in range(3)]


def test_deletions_are_undone_the_last_first(store: Library, runs: list[Run]) -> None:
    runs[0].append_metrics(1, {"loss": 0.5})
    move_to_trash(runs[:1])
    move_to_trash(runs[1:])
    assert list_runs(store.workspace) == [] and deleted_runs(store.workspace) == sorted(run.id for run in runs[1:])
    for _ in range(2):  # undone twice, once from each of two windows: the older deletion stays
        assert restore_runs(store.workspace, [runs[2].id, runs[1].id]) == sorted(run.id for run in runs[1:])
        assert deleted_runs(store.workspace) == [runs[0].id]
    assert restore_runs(store.workspace, [runs[0].id]) == [runs[0].id]
    assert runs[0].metrics()[0]["loss"] == 0.5 and len(list_runs(store.workspace)) == 3
    with pytest.raises(ConfigError, match="not in the trash"):
        restore_runs(store.workspace, ["nothing-here"])


def test_a_run_that_is_used_is_refused_and_all_stay(store: Library, runs: list[Run]) -> None:
    queue = JobQueue(store)
    queue.submit(JobSpec.evaluate(runs[1].id))
    with pytest.raises(Exception, match="is used by the job"):
        run_actions.delete(queue, [run.id for run in runs])
    with locked(runs[2].lock), pytest.raises(ConfigError, match="is being trained"):
        run_actions.delete(queue, [runs[0].id, runs[2].id])
    assert len(list_runs(store.workspace)) == 3
    run_actions.delete(queue, [runs[0].id] * 2)
    assert deleted_runs(store.workspace) == [runs[0].id]
    assert restore_runs(store.workspace, [runs[0].id] * 2) == [runs[0].id] and len(list_runs(store.workspace)) == 3


def test_a_deleted_run_is_kept_for_a_week(store: Library, runs: list[Run]) -> None:
    move_to_trash(runs[:1])
    purge(store)
    assert deleted_runs(store.workspace) == [runs[0].id]
    purge(store, older_than=timedelta(0))
    assert deleted_runs(store.workspace) == []
