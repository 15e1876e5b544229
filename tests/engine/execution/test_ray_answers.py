"""Ray's own client against a server that answers as a Ray cluster does when it is not well. No cluster is started."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.errors import JobError
from engine.execution.process_runner import Handle, load_handle
from engine.execution.ray_jobs import RayRunner, passed_environment
from engine.execution.resources import Resources
from engine.hardware.environment import process_changes
from engine.workspace import Workspace
from rewards.external.server_table import SECRET_WORDS

from .ray_cluster import needs_ray

pytestmark = needs_ray
NOT_READY = (500, "No available agent to submit job, please try again later.")
UNKNOWN = (404, "Job dailies-run-0 does not exist")
Answer = tuple[int, Any]


class Server(ThreadingHTTPServer):
    """`posts` and `gets` are the answers to come, the last one for ever; `sent` what was submitted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts: list[Answer] = []
        self.gets: list[Answer] = []
        self.sent: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        version = {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""}
        self._answer((200, version) if self.path == "/api/version" else _next(self.server.gets))

    def do_POST(self) -> None:
        self.server.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(_next(self.server.posts))

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self, answer: Answer) -> None:
        code, content = answer
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _next(answers: list[Answer]) -> Answer:
    return answers.pop(0) if len(answers) > 1 else answers[0]


def job(status: str, message: str = "") -> Answer:
    return 200, {"type": "SUBMISSION", "entrypoint": "", "status": status, "message": message, "submission_id": "x"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr("engine.execution.ray_jobs.SUBMIT_WAITS_S", (0.0, 0.0))
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def submit(server: Server, tmp_path: Path) -> Callable[[], Handle]:
    resources = Resources(runner="ray", processes=2, gpus=0.5)
    return lambda: RayRunner(server.address).submit(
        ["true"], env={"A": "b"}, cwd=tmp_path, resources=resources, run_dir=tmp_path
    )


@pytest.fixture
def handle(server: Server, tmp_path: Path) -> Handle:
    return Handle(runner="ray", folder=tmp_path, id="0", address=server.address, foreign="dailies-run-0")


def test_a_cluster_that_has_just_started_is_asked_again(server: Server, submit: Callable[[], Handle]) -> None:
    server.posts, server.gets = [NOT_READY, NOT_READY, (200, {"job_id": "x", "submission_id": "x"})], [UNKNOWN]
    handle = submit()
    assert len(server.sent) == 3 and {sent["submission_id"] for sent in server.sent} == {handle.foreign}
    assert server.sent[0]["entrypoint_num_gpus"] == 1.0 and server.sent[0]["entrypoint_num_cpus"] == 2.0
    assert "env_vars" not in server.sent[0] and "A" not in server.sent[0]["runtime_env"]["env_vars"]


def test_a_job_that_arrived_without_an_answer_is_not_sent_twice(server: Server, submit: Callable[[], Handle]) -> None:
    server.posts, server.gets = [(500, "The answer was lost.")], [job("PENDING", "Waiting for resources.")]
    handle = submit()
    assert len(server.sent) == 1
    found = RayRunner(server.address).poll(handle)
    assert (found.state, found.sentence) == ("waiting", "Waiting for resources.")


def test_a_cluster_that_takes_nothing_is_said_to(server: Server, submit: Callable[[], Handle], tmp_path: Path) -> None:
    server.posts, server.gets = [NOT_READY], [UNKNOWN]
    with pytest.raises(JobError, match=r"try again later\. Nothing was started\.$"):
        submit()
    known = load_handle(tmp_path)
    assert known is not None and not RayRunner(server.address).reattach(known)


def test_trouble_is_not_an_end(server: Server, handle: Handle) -> None:
    """An answer that says nothing of the job is silence, which is borne for a while."""
    server.gets = [(503, "The head node is restarting.")]
    found = RayRunner(server.address).poll(handle)
    assert found.state == "running" and "The head node is restarting." in found.sentence
    assert RayRunner(server.address, patience_s=0).poll(handle).state == "lost"


@pytest.mark.parametrize(
    ("answer", "state", "sentence"),
    [
        (job("RUNNING"), "running", ""),
        (UNKNOWN, "lost", "so it was restarted"),
        (
            job("FAILED", "The node died.\nTraceback"),
            "lost",
            "was interrupted (failed, The node died). Finished results",
        ),
        (job("STOPPED"), "lost", "was interrupted (stopped, no reason given)"),
        (job("SUCCEEDED", "Job finished."), "lost", "was interrupted (succeeded, Job finished)"),
    ],
)
def test_what_left_no_exit_code(server: Server, handle: Handle, answer: Answer, state: str, sentence: str) -> None:
    server.gets = [answer]
    found = RayRunner(server.address).poll(handle)
    assert found.state == state and sentence in found.sentence and "\n" not in found.sentence


def test_secrets_are_neither_written_nor_sent(
    server: Server, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that begin as the variables which a cluster is given."""
    names = [f"DAILIES_MY_{word}".upper() for word in SECRET_WORDS]
    for name in (*names, "HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("DAILIES_DATABASE_URL", "postgresql://someone:planted@127.0.0.1:1/dailies")
    server.posts, server.gets = [(200, {"job_id": "x", "submission_id": "x"})], [UNKNOWN]
    handle = RayRunner(server.address).submit(
        ["true"], env=process_changes(workspace), cwd=tmp_path, resources=Resources(runner="ray"), run_dir=tmp_path
    )
    given = handle.attempt.work().env
    assert given["DAILIES_WORKSPACE"] == str(workspace.root) and "planted" not in json.dumps(dict(given))
    assert "planted" not in json.dumps(server.sent) and "planted" not in json.dumps(passed_environment(os.environ))
