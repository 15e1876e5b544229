"""No model, adapter or data set is removed while a job or a run needs it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert

from engine.cli.main import main
from engine.clock import now
from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, GateCondition, Stage
from engine.config.presets import load_train_preset
from engine.errors import ConfigError, JobError
from engine.files.locks import is_held, locked
from engine.jobs.kinds import KINDS
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import delete
from engine.jobs.submission import unneeded
from engine.request import GenerationRequest
from engine.runs.curriculum_state import Curriculum, CurriculumState
from engine.runs.run import Run
from engine.storage.library import Library
from engine.storage.schema import JOBS

Config = Callable[[Library], dict[str, Any]]
GATE = CurriculumGate(conditions=(GateCondition(metric="mix", at_least=0.0),))
REQUEST = {"prompt": "p", "model": "tiny", "adapter": "look"}


def run_of(store: Library, **changes: Any) -> Run:
    return Run.create(store.workspace, load_train_preset("tiny_nft", changes))


def by_run(store: Library) -> dict[str, Any]:
    return {"run": run_of(store).id}


def by_curriculum(store: Library) -> dict[str, Any]:
    """Its second stage is the one that needs the model and the adapter."""
    stages = (
        Stage(name="one", preset="mini_nft", gate=GATE),
        Stage(name="two", preset="tiny_nft", settings={"frozen_adapter": "look"}, gate=GATE),
    )
    return {"curriculum": Curriculum.create(store.workspace, CurriculumPreset(key="c", title="C", stages=stages)).id}


def by_request(store: Library) -> dict[str, Any]:
    return {"requests": [GenerationRequest(**REQUEST).model_dump(mode="json")]}


def by_keyframes(store: Library) -> dict[str, Any]:
    return {"request": GenerationRequest(**REQUEST).model_dump(mode="json")}


def by_preset(store: Library) -> dict[str, Any]:
    return {"preset": load_train_preset("tiny_nft").model_dump(mode="json"), "adapter": "look"}


# A kind, and what its job needs: a run has a copy of its adapter.
BOTH, MODEL, NOTHING = ("tiny", "look"), ("tiny",), ()
USES: dict[str, tuple[Config, tuple[str, ...]]] = {
    "generate": (by_request, BOTH),
    "keyframes": (by_keyframes, BOTH),
    "preflight": (by_preset, BOTH),
    "curriculum": (by_curriculum, BOTH),
    "train": (by_run, MODEL),
    "evaluate": (by_run, MODEL),
    "samples": (by_run, MODEL),
    "score": (lambda store: {"clip_ids": ["a"], "mix": "mini"}, NOTHING),
    "score_folder": (lambda store: {"folder": "videos", "mix": "mini"}, NOTHING),
    "overlays": (lambda store: {"clip_id": "a", "mix": "mini"}, NOTHING),
    "judge": (lambda store: {"campaign": "a", "judge": "b"}, NOTHING),
    "weights": (lambda store: {"key": "clip"}, NOTHING),
    "model": (lambda store: {"key": "tiny"}, NOTHING),  # a download, which the hub's cache itself locks
    "inspect": (lambda store: {"questions": ["devices"]}, NOTHING),
}


@pytest.fixture
def queue(store: Library, preset: str) -> JobQueue:
    """Not the queue of the other tests: KINDS is meant."""
    return JobQueue(store)


def submit(store: Library, kind: str, config: dict[str, Any]) -> None:
    row = {"id": "1" * 8, "kind": kind, "status": "queued", "config": config, "resources": {}, "created_at": now()}
    with store.database.writing() as connection:
        connection.execute(insert(JOBS).values(**row))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_job_of_each_kind_needs_is_kept(queue: JobQueue, kind: str) -> None:
    config, needed = USES[kind]
    submit(queue.store, kind, config(queue.store))
    for key in BOTH:
        if key in needed:
            with pytest.raises(ConfigError, match=rf"'{key}' is needed by the job 11111111 \({kind}\): cancel it"):
                unneeded(queue, (key,)).__enter__()
        else:
            with unneeded(queue, (key,)):
                assert is_held(queue.store.workspace.submission_lock), "no run is submitted meanwhile"
    with unneeded(queue, ("other",)):
        pass


def test_a_training_that_no_job_began_keeps_its_model(queue: JobQueue) -> None:
    run = run_of(queue.store)
    with unneeded(queue, MODEL):
        pass
    with locked(run.lock), pytest.raises(ConfigError, match=f"'tiny' is needed by the run {run.id}"):
        unneeded(queue, MODEL).__enter__()


def test_a_damaged_run_hides_no_other_and_prevents_no_removal(queue: JobQueue) -> None:
    submit(queue.store, "train", by_run(queue.store))
    run_of(queue.store).resolved.write_text("torn")
    with pytest.raises(ConfigError, match="is needed by the job 11111111"):
        unneeded(queue, MODEL).__enter__()
    with unneeded(queue, ("look",)):
        pass


@pytest.mark.parametrize("setting", ["prompts", "test_prompts", "path"])
def test_an_unfinished_run_keeps_its_data_set(queue: JobQueue, setting: str) -> None:
    table = queue.store.workspace.data_sets / "mine" / "prompts.jsonl"
    table.parent.mkdir(parents=True)
    table.write_text('{"prompt": "a red circle"}\n')
    run = run_of(queue.store, **({"prompts": str(table)} if setting == "path" else {setting: "mine"}))
    with pytest.raises(ConfigError, match=f"'mine' is needed by the run {run.id}: .* delete it"):
        unneeded(queue, data_set="mine").__enter__()
    with unneeded(queue, data_set="other"):
        pass
    run.adapter.mkdir()
    with unneeded(queue, data_set="mine"):
        pass


def test_the_run_of_a_passed_stage_is_kept(queue: JobQueue) -> None:
    run = run_of(queue.store)
    curriculum = Curriculum.find(queue.store.workspace, by_curriculum(queue.store)["curriculum"])
    curriculum.save(CurriculumState(stage=1, start=run.id))
    with pytest.raises(
        JobError, match=f"used by the curriculum {curriculum.id}: .*curriculum {curriculum.id} --abandon"
    ):
        delete(queue, [run.id])
    words = ["curriculum", curriculum.id, "--abandon", "--workspace", str(queue.store.workspace.root)]
    with locked(curriculum.lock):
        assert main(words) == 2, "it is being run"
    assert main(words) == 0 and curriculum.state().status == "stopped"
    assert main(words) == 2, "it is over"
    delete(queue, [run.id])
