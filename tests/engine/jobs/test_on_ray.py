"""Whole jobs whose work is done by a Ray cluster: a training that is cut off in every way, and a folder of videos."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.execution.process_runner import WorkerShutdown, find_running, load_handle
from engine.execution.ray_jobs import ADDRESS
from engine.execution.resources import Resources
from engine.files.locks import try_lock
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.queue import JobQueue
from engine.jobs.runs.run_actions import resume, run_state, submit_run
from engine.jobs.spec import Job
from engine.jobs.worker import IdleTimeouts, Worker
from engine.runs.adapters import find_adapter
from engine.runs.run import Run
from engine.storage.library import Library
from engine.video.writer import write_lossless
from tests.engine.execution.ray_cluster import Cluster, needs_ray

# Minutes of real jobs; what every runner does is in the suite, see tests/engine/execution/test_runner_conformance.py.
pytestmark = [needs_ray, pytest.mark.slow]
Until = Callable[..., None]
STEPS = 40
PARTLY = 1  # exit code: one of the videos cannot be read
ON_RAY = Resources(runner="ray", cpus=0.5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.started() as cluster:
        yield cluster


@pytest.fixture
def on_ray(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv(ADDRESS, cluster.address)
    return cluster


@pytest.fixture
def queue(store: Library) -> JobQueue:
    return JobQueue(store)


@pytest.fixture
def run(queue: JobQueue, preset: str) -> Run:
    return Run.create(queue.store.workspace, load_train_preset(preset, {"settings": {"max_steps": STEPS}}))


def serve(queue: JobQueue) -> None:
    """A worker that does what is queued, and ends."""
    Worker(queue, IdleTimeouts(exit_s=0)).run(try_lock(queue.store.workspace.worker_lock))


def newest(queue: JobQueue) -> Job:
    return queue.list()[0]


@pytest.mark.timeout(400)
def test_a_training_goes_on_through_a_lost_worker_a_cancelled_job_and_a_dead_cluster(
    queue: JobQueue, run: Run, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.execution.ray_jobs.PATIENCE_S", 2.0)
    with Cluster.started() as doomed:
        monkeypatch.setenv(ADDRESS, doomed.address)
        # The worker has to end: the Ray job goes on, and the next job for the run takes it up.
        job = submit_run(queue, run, ON_RAY)
        kind = kind_of(job.kind, KINDS)
        steps = kind.start(job.config, JobContext(store=queue.store, resources=Resources(**job.resources)))
        first = next(itertools.dropwhile(lambda progress: progress.handle is None, steps)).handle
        assert first is not None and first == load_handle(run.folder) and first.runner == "ray"
        with pytest.raises(WorkerShutdown):
            steps.throw(WorkerShutdown())
        again = kind.start(job.config, JobContext(store=queue.store))
        assert next(again).handle == first, "whatever the new job asks for"
        # Told to stop, it ends after its step, with a checkpoint.
        until(run.metrics, "the first step", timeout_s=120)
        again.close()
        assert first.attempt.exit_code() == 3 and run.last_checkpoint() is not None and not run.adapter.exists()
        queue.cancel(job.id)
        # The cluster dies in the middle: the job is lost, in one sentence.
        reached = run.metrics()[-1]["step"]
        resume(queue, run.id)
        worker = threading.Thread(target=serve, args=(queue,))
        worker.start()
        until(lambda: run.metrics()[-1]["step"] > reached, "a further step", timeout_s=120)
        assert newest(queue).progress.handle == load_handle(run.folder)
        doomed.kill()
        worker.join(60)
    lost = newest(queue)
    assert lost.status == "lost" and lost.resources["runner"] == "ray"
    assert lost.error.startswith(f"The run {run.id} is lost. The Ray cluster at {doomed.address} has not answered")
    assert run_state(queue, run.id).can_resume and find_running(run.folder) is None
    # It goes on from its checkpoint on this machine.
    submit_run(queue, run, Resources())
    serve(queue)
    assert newest(queue).status == "done", newest(queue).error
    assert [row["step"] for row in run.metrics()] == list(range(1, STEPS + 1))
    assert find_adapter(queue.store.workspace, run.id, "tiny")


def test_actors_make_and_score_the_clips_of_a_training(on_ray: Cluster, queue: JobQueue, run: Run) -> None:
    """The training is a Ray job that asks its cluster for actors; it finds the rewards with the clips."""
    run.replace_preset(load_train_preset("tiny_nft", {"settings": {"max_steps": 3}}))
    submit_run(queue, run, Resources(runner="ray", actors=2, cpus=0.25))
    serve(queue)
    assert newest(queue).status == "done", newest(queue).error
    rows = [row for row in run.metrics() if "reward" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert max(row["time/score"] for row in rows) < 0.01 < min(row["time/rollout"] for row in rows)


def test_a_folder_is_scored_by_actors_and_only_once(
    on_ray: Cluster, store: Library, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        frames = np.random.default_rng(number).integers(0, 256, (9, 64, 64, 3), np.uint8)
        write_lossless(folder / f"{number}.mkv", frames, 8.0)
    (folder / "torn.mkv").write_bytes(b"no video" * 50)
    command = ["score", str(folder), "--mix", "tiny", "--runner", "ray", "--processes", "2", "--cpus", "0.5", "--json"]
    assert main(command) == PARTLY
    told = json.loads(capsys.readouterr().out)
    assert len(told["clip_ids"]) == 4 and list(told["unread"]) == ["torn.mkv"] and not told["unscored"]
    here = Library(store.workspace)
    reports = here.reports(told["clip_ids"], "tiny")
    assert set(reports) == set(told["clip_ids"])
    marked = told["clip_ids"][0]
    here.save_report(marked, "tiny", {**reports[marked], "total": 0.123})
    assert main(command) == PARTLY
    assert here.reports(told["clip_ids"], "tiny") == {**reports, marked: {**reports[marked], "total": 0.123}}
    here.close()
