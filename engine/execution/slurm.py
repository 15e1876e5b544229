"""`SlurmRunner`: a Slurm task, submitted with submitit (an extra: `pip install -e '.[slurm]'`).

Tested with submitit's "local" cluster only, which runs the same task on this machine; not tested with Slurm.
"""

import math
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, JobError
from engine.execution.attempt import Attempt
from engine.execution.process_runner import Handle, ProcessRunner, ProcessStatus, save_handle, supervisor_command
from engine.execution.resources import Resources, RunnerKey
from engine.package_data import IMPORT_ROOT
from engine.process_identity import ProcessIdentity

OPTIONS = "DAILIES_SLURM"
DAY_MIN = 24 * 60
PATIENCE_S = 300.0  # accounting lists a new job only after a while
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "SUSPENDED")
RUNNING = ("RUNNING", "COMPLETING", "UNKNOWN")


class SlurmRunner(ProcessRunner):
    """Submits jobs to submitit's `cluster`: "slurm", or "local" for this machine. `address` is not used."""

    key: RunnerKey = "slurm"

    def __init__(self, address: str = "", cluster: str = "slurm") -> None:
        self._cluster = cluster
        self._unknown_since: dict[str, float] = {}

    def launch(self, attempt: Attempt, resources: Resources) -> Handle:
        executor = self._executor(attempt.place / "submitit", resources)
        try:
            job = executor.submit(subprocess.call, supervisor_command(attempt), cwd=str(IMPORT_ROOT))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise JobError(f"Slurm refused the job of {attempt.folder}: {error}") from error
        here = self._cluster == "local"
        if here:  # its parent must wait for it, or it stays a zombie
            threading.Thread(target=job.wait, name=f"reaper-{job.job_id}", daemon=True).start()
        process = ProcessIdentity.of(int(job.job_id)) if here else None
        return save_handle(
            Handle(runner=self.key, folder=attempt.folder, id=attempt.id, foreign=job.job_id, process=process)
        )

    def query(self, handle: Handle) -> ProcessStatus:
        if handle.process is not None:
            return ProcessStatus(state="running") if handle.process.is_alive else _lost(handle, "killed")
        state = str(self._job(handle).watcher.get_state(handle.foreign, mode="force")).split(" ")[0]
        if state != "UNKNOWN":
            self._unknown_since.pop(handle.foreign, None)
        elif time.monotonic() - self._unknown_since.setdefault(handle.foreign, time.monotonic()) > PATIENCE_S:
            return _lost(handle, "unknown to Slurm's accounting")
        if state in WAITING:
            return ProcessStatus(state="waiting")
        if state in RUNNING:
            return ProcessStatus(state="running")
        if state == "CANCELLED" and handle.attempt.asked_to_stop() is not None:
            return ProcessStatus(state="ended", exit_code=-signal.SIGTERM)
        return _lost(handle, state.lower())

    def cancel(self, handle: Handle, grace_s: float) -> None:
        """Stop the process; remove a job that Slurm has not started, since it has no supervisor yet."""
        super().cancel(handle, grace_s)
        if self.poll(handle).state == "waiting":
            self._job(handle).cancel(check=False)

    def _executor(self, folder: Path, resources: Resources) -> Any:
        """Return submitit's executor. Raises ConfigError without submitit or Slurm, or for an unknown option."""
        options = {"timeout_min": DAY_MIN, **read_options(os.environ.get(OPTIONS, ""))}
        if resources.gpus:
            options["gpus_per_node"] = math.ceil(resources.gpus * resources.processes)
        cpus = max(1, math.ceil(resources.cpus * resources.processes))
        try:
            import submitit

            executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
            executor.update_parameters(name="dailies", cpus_per_task=cpus, **options)
        except ImportError as error:
            raise ConfigError(
                f"submitit is not installed here ({error}): `pip install -e '.[slurm]'` in the clone."
            ) from error
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"Slurm cannot be used here: {reason} (options of {OPTIONS} are submitit's).") from error
        return executor

    def _job(self, handle: Handle) -> Any:
        import submitit

        return submitit.SlurmJob(folder=handle.attempt.place / "submitit", job_id=handle.foreign)


def read_options(text: str) -> dict[str, str | int]:
    """Parse `slurm_partition=gpu,timeout_min=600` to a dictionary. Raises ConfigError."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise ConfigError(f"{OPTIONS} is a list like slurm_partition=gpu,timeout_min=600, but got '{text}'.")
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}


def _lost(handle: Handle, reason: str) -> ProcessStatus:
    return ProcessStatus(
        state="lost",
        sentence=f"The Slurm job {handle.foreign} was interrupted ({reason}). Finished results are kept: resume.",
    )
