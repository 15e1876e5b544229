"""`RayRunner`: a Ray job.

Ray is queried only for its state; results are in the folder that both sides share. The runner uses only the cluster's
job server (its dashboard's address), so the worker needs not be a node of it. Ray is imported inside functions: it is
an extra (`pip install -e '.[ray]'`), and takes a second.
"""

import os
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from engine.errors import ConfigError, JobError
from engine.execution.attempt import GRACE_S, Attempt
from engine.execution.process_runner import Handle, ProcessRunner, ProcessStatus, save_handle, supervisor_command
from engine.execution.resources import Resources, RunnerKey
from engine.hardware.environment import ROCR_VISIBLE, VISIBLE
from engine.hardware.job_environment import is_secret
from engine.package_data import IMPORT_ROOT

ADDRESS = "DAILIES_RAY_ADDRESS"
OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray's client prefers these to its address argument
ANSWER_S = 10.0  # for a query
SUBMIT_S = 120.0  # a cluster that has just started is slow with the first job
SUBMIT_WAITS_S = (0.5, 1, 2, 4, 8, 16, 30)
PATIENCE_S = 60.0  # a restart of the dashboard, or a short failure of the network
# Variables that are passed to the cluster's processes, if they are no secret.
PASSED_ON = ("DAILIES_", "HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "PYTHONPATH")
NO_SUCH_JOB = "status code 404"
Answer = TypeVar("Answer")


class _Silence(Exception):
    """The cluster gave no valid answer."""


class RayRunner(ProcessRunner):
    """Runs Ray jobs; a job is lost when the cluster does not answer for `patience_s`.

    The default is PATIENCE_S.
    """

    key: RunnerKey = "ray"
    spreads = True

    def __init__(self, address: str = "", patience_s: float | None = None) -> None:
        self.address = checked_address(address or os.environ.get(ADDRESS, ""))
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._clients: dict[str, Any] = {}
        self._silent_since: float | None = None

    def environment(self, env: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Return our environment without its devices: Ray chooses them, by HIP_VISIBLE_DEVICES alone."""
        kept = {k: v for k, v in env.items() if k != VISIBLE}
        return {**passed_environment(os.environ), **kept, ROCR_VISIBLE: None}

    def launch(self, attempt: Attempt, resources: Resources) -> Handle:
        """Save the handle, then submit: a crash between the two leaves no job without a handle."""
        name = f"dailies-{attempt.folder.name}-{attempt.id}"
        handle = Handle(runner=self.key, folder=attempt.folder, id=attempt.id, address=self.address, foreign=name)
        self._query_or_fail(handle, lambda client: client.get_version())
        save_handle(handle)
        command = f"cd {shlex.quote(str(IMPORT_ROOT))} && exec {shlex.join(supervisor_command(attempt))}"
        runtime_env = {
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(int(GRACE_S))}
        }  # when the cluster stops a job itself
        self._send(
            handle,
            lambda client: client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env=runtime_env,
                entrypoint_num_cpus=resources.cpus * resources.processes or None,
                entrypoint_num_gpus=resources.gpus * resources.processes or None,
                metadata={"folder": str(attempt.folder)},
            ),
        )
        return handle

    def _send(self, handle: Handle, submit: Callable[[Any], str]) -> None:
        """Submit, with retries while the cluster is not ready: it answers queries before it accepts jobs.

        Ray accepts a name only once, so a job whose answer was lost is not submitted twice. Raises JobError.
        """
        for wait_s in (*SUBMIT_WAITS_S, None):
            try:
                self._query(handle, submit)
                return
            except _Silence as silence:
                if self._job_exists(handle):
                    return
                if wait_s is None:
                    raise JobError(f"{silence} Nothing was started.") from silence
                time.sleep(wait_s)

    def _job_exists(self, handle: Handle) -> bool:
        try:
            return self._query(handle, lambda client: client.get_job_info(handle.foreign)) is not None
        except _Silence:
            return False

    def query(self, handle: Handle) -> ProcessStatus:
        try:
            info = self._query(handle, lambda client: client.get_job_info(handle.foreign))
        except _Silence as silence:
            return self._status_of_silence(handle, str(silence))
        self._silent_since = None
        if info is None:
            return ProcessStatus(state="lost", sentence=_unknown_message(handle))
        return _status(handle, info.status.value, info.message or "")

    def cancel(self, handle: Handle, grace_s: float) -> None:
        """Stop the process; remove a job that has not started, which has no supervisor to read the request."""
        super().cancel(handle, grace_s)
        if self.poll(handle).state == "waiting":
            self._query_or_fail(handle, lambda client: client.stop_job(handle.foreign))

    def reattach(self, handle: Handle) -> bool:
        """Return True for a running job.

        A silent cluster counts as gone: the run's lock prevents a second training.
        """
        return self._job_exists(handle) and super().reattach(handle)

    def _status_of_silence(self, handle: Handle, reason: str) -> ProcessStatus:
        """Return "running" for `patience_s` without an answer, then "lost"."""
        now_s = time.monotonic()
        self._silent_since = now_s if self._silent_since is None else self._silent_since
        if now_s - self._silent_since < self._patience_s:
            return ProcessStatus(state="running", sentence=reason)
        return ProcessStatus(
            state="lost",
            sentence=f"The Ray cluster at {handle.address} has not answered for {self._patience_s:g} s, so it is down "
            "or cannot be reached. Finished results are kept: start the cluster, then resume.",
        )

    def _query(self, handle: Handle, question: Callable[[Any], Answer]) -> Answer | None:
        """Return the cluster's answer, None for an unknown job. Raises _Silence."""
        client_class, error_class = _ray()
        try:
            if handle.address not in self._clients:
                self._clients[handle.address] = client_class(handle.address)
            return question(self._clients[handle.address])
        except (RuntimeError, OSError, error_class) as error:
            if NO_SUCH_JOB in str(error):
                return None
            raise _Silence(f"The Ray cluster at {handle.address} does not answer: {_sentence(error)}") from error

    def _query_or_fail(self, handle: Handle, question: Callable[[Any], Answer]) -> Answer | None:
        """Query the cluster. Raises JobError without an answer."""
        try:
            return self._query(handle, question)
        except _Silence as silence:
            raise JobError(f"{silence} Check {ADDRESS}, and that the cluster runs.") from silence


def passed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are passed to the cluster's processes."""
    return {k: v for k, v in environment.items() if k.startswith(PASSED_ON) and not is_secret(k, v)}


def checked_address(address: str) -> str:
    """Return the address without a final slash. Raises ConfigError in one sentence."""
    address = address.rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{ADDRESS} must be the address of a Ray cluster's job server, such as http://head:8265, but is "
            f"{address or 'not set'}: set it where page and worker are started."
        )
    for name in OVERRIDES:
        if os.environ.get(name, address).rstrip("/") != address:
            raise ConfigError(
                f"{name}={os.environ[name]} is set, which Ray takes instead of {ADDRESS}={address}: unset {name}."
            )
    return address


def _status(handle: Handle, status: str, message: str) -> ProcessStatus:
    """Return the state of a job without an exit code, from Ray's status of it."""
    if status == "PENDING":
        return ProcessStatus(state="waiting", sentence=_first_line(message))
    if status == "RUNNING":
        return ProcessStatus(state="running")
    if status == "STOPPED" and handle.attempt.asked_to_stop() is not None:
        return ProcessStatus(state="ended", exit_code=-signal.SIGTERM)
    reason = _first_line(message) or "no reason given"
    return ProcessStatus(
        state="lost",
        sentence=f"The Ray job {handle.foreign} was interrupted ({status.lower()}, {reason.rstrip('.')}). Finished "
        "results are kept: resume.",
    )


def _ray() -> tuple[type[Any], type[Exception]]:
    """Return Ray's client with a timeout, and the base of Ray's errors. Raises ConfigError without Ray."""
    try:
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise ConfigError(f"Ray is not installed here ({error}): `pip install -e '.[ray]'` in the clone.") from error

    class ClientWithTimeout(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            timeout_s = ANSWER_S if method == "GET" else SUBMIT_S
            return super()._do_request(method, endpoint, timeout=timeout_s, **options)

    return ClientWithTimeout, RayError


def _unknown_message(handle: Handle) -> str:
    return (
        f"The Ray cluster at {handle.address} has no job {handle.foreign} any more, so it was restarted. "
        "Finished results are kept: resume."
    )


def _sentence(error: Exception) -> str:
    return f"{_first_line(str(error)).rstrip('.')}."


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else ""
