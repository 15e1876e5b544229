"""An idle worker releases its model and goes on waiting."""

import threading

import pytest

from engine.files.locks import try_lock
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.jobs.worker import IdleTimeouts, Worker
from engine.jobs.worker_state import worker_state


@pytest.fixture
def database():
    """Releasing a model is the same on every database."""
    return "sqlite"


def test_an_idle_worker_gives_the_model_back_and_goes_on_waiting(store, workspace, request_, until):
    queue = JobQueue(store)
    worker = Worker(queue, IdleTimeouts(idle_s=0, exit_s=600))
    thread = threading.Thread(target=worker.run, args=(try_lock(workspace.worker_lock),))
    thread.start()
    try:
        for request in request_.with_seeds(2):
            job = queue.submit(JobSpec.generate([request]))
            until(lambda job=job: queue.get(job.id).status == "done", "the clip")
            until(
                lambda: (s := worker_state(workspace)) and (s.state, s.model) == ("idle", None), "the model's release"
            )
    finally:
        worker.end()
        thread.join(60)
    assert worker_state(workspace) is None
