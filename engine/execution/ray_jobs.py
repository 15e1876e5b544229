"""`RayRunner`: a Ray job. It asks Ray only whether a job lives; what it did stands in the folder that both sides share.

Talks to the cluster's job server (its dashboard's address) alone, so the worker needs not be a node of the cluster.
Ray is imported inside functions: it is an extra (`pip install 'dailies[ray]'`), and takes a second.
"""

import os
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from engine.errors import ConfigError, JobError
from engine.execution.attempt import Attempt
from engine.execution.process_runner import FolderRunner, Handle, ProcessStatus, save_handle, supervisor_command
from engine.execution.resources import Resources, RunnerKey
from engine.execution.supervisor import GRACE_S
from engine.hardware.environment import ROCR_VISIBLE, VISIBLE
from engine.package_data import IMPORT_ROOT

ADDRESS = "DAILIES_RAY_ADDRESS"
OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray's client prefers them to what it is told
ANSWER_S = 10.0  # for a question
SUBMIT_S = 120.0  # a cluster that has just started takes its time with the first job
SUBMIT_WAITS_S = (0.5, 1, 2, 4, 8, 16, 30)
PATIENCE_S = 60.0  # a dashboard that restarts, or a network that stumbles
# What the cluster's processes are told of ours. Never a secret: it is written into the run's folder.
PASSED_ON = ("DAILIES_", "HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "PYTHONPATH")
SECRETS = ("DAILIES_DATABASE_URL",)
NO_SUCH_JOB = "status code 404"
Answer = TypeVar("Answer")


class _Silence(Exception):
    """The cluster gave no answer that means anything."""


class RayRunner(FolderRunner):
    """`patience_s`: how long a cluster may be silent before what runs there counts as lost (PATIENCE_S)."""

    key: RunnerKey = "ray"
    spreads = True

    def __init__(self, address: str = "", patience_s: float | None = None) -> None:
        self.address = checked_address(address or os.environ.get(ADDRESS, ""))
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._clients: dict[str, Any] = {}
        self._silent_since: float | None = None

    def environment(self, env: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Ours, but for the devices: those Ray chooses, by HIP_VISIBLE_DEVICES alone."""
        kept = {k: v for k, v in env.items() if k != VISIBLE}
        return {**passed_on(os.environ), **kept, ROCR_VISIBLE: None}

    def launch(self, attempt: Attempt, resources: Resources) -> Handle:
        """The handle is kept before the job is sent: a crash between the two leaves no job that nobody knows."""
        name = f"dailies-{attempt.folder.name}-{attempt.id}"
        handle = Handle(runner=self.key, folder=attempt.folder, id=attempt.id, address=self.address, foreign=name)
        self._demand(handle, lambda client: client.get_version())
        save_handle(handle)
        command = f"cd {shlex.quote(str(IMPORT_ROOT))} && exec {shlex.join(supervisor_command(attempt))}"
        patient = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(int(GRACE_S))}}  # when the cluster stops a job itself
        self._send(
            handle,
            lambda client: client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env=patient,
                entrypoint_num_cpus=resources.cpus * resources.processes or None,
                entrypoint_num_gpus=resources.gpus * resources.processes or None,
                metadata={"folder": str(attempt.folder)},
            ),
        )
        return handle

    def _send(self, handle: Handle, submit: Callable[[Any], str]) -> None:
        """Again and again while the cluster is not ready: one that has just started answers before it takes jobs.

        Ray takes a name but once, so a job that arrived although the answer did not is not sent twice.
        """
        for wait_s in (*SUBMIT_WAITS_S, None):
            try:
                self._ask(handle, submit)
                return
            except _Silence as silence:
                if self._knows(handle):
                    return
                if wait_s is None:
                    raise JobError(f"{silence} Nothing was started.") from silence
                time.sleep(wait_s)

    def _knows(self, handle: Handle) -> bool:
        try:
            return self._ask(handle, lambda client: client.get_job_info(handle.foreign)) is not None
        except _Silence:
            return False

    def look(self, handle: Handle) -> ProcessStatus:
        try:
            info = self._ask(handle, lambda client: client.get_job_info(handle.foreign))
        except _Silence as silence:
            return self._silence(handle, str(silence))
        self._silent_since = None
        if info is None:
            return ProcessStatus(state="lost", sentence=_unknown(handle))
        return _condition(handle, info.status.value, info.message or "")

    def cancel(self, handle: Handle, grace_s: float) -> None:
        """A job that the cluster has not begun has nobody yet who would read the request."""
        super().cancel(handle, grace_s)
        if self.poll(handle).state == "waiting":
            self._demand(handle, lambda client: client.stop_job(handle.foreign))

    def reattach(self, handle: Handle) -> bool:
        """A cluster that cannot be asked counts as gone: the lock of the run keeps two from training it."""
        return self._knows(handle) and super().reattach(handle)

    def _silence(self, handle: Handle, why: str) -> ProcessStatus:
        """No answer: for a while it is taken to go on, then to be lost."""
        now_s = time.monotonic()
        self._silent_since = now_s if self._silent_since is None else self._silent_since
        if now_s - self._silent_since < self._patience_s:
            return ProcessStatus(state="running", sentence=why)
        return ProcessStatus(
            state="lost",
            sentence=f"The Ray cluster at {handle.address} has not answered for {self._patience_s:g} s, so it is down "
            "or cannot be reached: what was finished is kept; start the cluster, then resume.",
        )

    def _ask(self, handle: Handle, question: Callable[[Any], Answer]) -> Answer | None:
        """The cluster's answer, None when it knows no such job. Raises _Silence."""
        client_class, error_class = _ray()
        try:
            if handle.address not in self._clients:
                self._clients[handle.address] = client_class(handle.address)
            return question(self._clients[handle.address])
        except (RuntimeError, OSError, error_class) as error:
            if NO_SUCH_JOB in str(error):
                return None
            raise _Silence(f"The Ray cluster at {handle.address} does not answer: {_sentence(error)}") from error

    def _demand(self, handle: Handle, question: Callable[[Any], Answer]) -> Answer | None:
        """The same where no answer is an error."""
        try:
            return self._ask(handle, question)
        except _Silence as silence:
            raise JobError(f"{silence} Is {ADDRESS} right, and the cluster up?") from silence


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What processes of the cluster are told of our environment."""
    return {k: v for k, v in environment.items() if k.startswith(PASSED_ON) and k not in SECRETS}


def checked_address(address: str) -> str:
    """Raises ConfigError in one sentence."""
    address = address.rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{ADDRESS} names a Ray cluster's job server, such as http://head:8265, but is {address or 'not set'}: set "
            "it where page and worker are started."
        )
    for name in OVERRIDES:
        if os.environ.get(name, address).rstrip("/") != address:
            raise ConfigError(
                f"{name}={os.environ[name]} is set, which Ray takes instead of {ADDRESS}={address}: unset {name}."
            )
    return address


def _condition(handle: Handle, status: str, message: str) -> ProcessStatus:
    """Of a job that has left no exit code, by what Ray says of it."""
    if status == "PENDING":
        return ProcessStatus(state="waiting", sentence=_first_line(message))
    if status == "RUNNING":
        return ProcessStatus(state="running")
    if status == "STOPPED" and handle.attempt.asked_to_stop() is not None:
        return ProcessStatus(state="ended", exit_code=-signal.SIGTERM)
    why = _first_line(message) or "no reason given"
    return ProcessStatus(
        state="lost",
        sentence=f"The Ray job {handle.foreign} was cut off ({status.lower()}, {why.rstrip('.')}): what was finished "
        "is kept; resume.",
    )


def _ray() -> tuple[type[Any], type[Exception]]:
    """Ray's own client, but one that gives up, and the root of Ray's errors. Raises ConfigError without Ray."""
    try:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise ConfigError(f"Ray is not installed here ({error}): pip install 'dailies[ray]'.") from error

    class Impatient(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            timeout_s = ANSWER_S if method == "GET" else SUBMIT_S
            return super()._do_request(method, endpoint, timeout=timeout_s, **options)

    return Impatient, RayError


def _unknown(handle: Handle) -> str:
    return (
        f"The Ray cluster at {handle.address} does not know the job {handle.foreign} any more, so it was restarted: "
        "what was finished is kept; resume."
    )


def _sentence(error: Exception) -> str:
    return f"{_first_line(str(error)).rstrip('.')}."


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else ""
