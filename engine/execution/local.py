"""`LocalRunner`: a detached process on this machine.

The process outlives the page and the worker that started it.
"""

import subprocess
import threading

from engine.errors import JobError
from engine.execution.attempt import TELLS, Attempt
from engine.execution.process_runner import Handle, ProcessRunner, ProcessStatus, save_handle, supervisor_command
from engine.execution.resources import LOCAL, Resources
from engine.package_data import IMPORT_ROOT
from engine.process_identity import ProcessIdentity


def save_local_handle(attempt: Attempt, pid: int) -> Handle:
    """Save the handle of an attempt's supervisor.

    Both the starting process and the supervisor save it, since either may be killed.
    """
    return save_handle(Handle(runner=LOCAL, folder=attempt.folder, id=attempt.id, process=ProcessIdentity.of(pid)))


class LocalRunner(ProcessRunner):
    key = LOCAL

    def __init__(self, address: str = "") -> None:
        """Ignore `address`: there is one local machine."""

    def launch(self, attempt: Attempt, resources: Resources) -> Handle:
        try:
            with attempt.log.open("ab") as log:
                process = subprocess.Popen(
                    [*supervisor_command(attempt), TELLS],
                    cwd=IMPORT_ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise JobError(f"No process can be started for {attempt.folder}: {error.strerror or error}.") from error
        # Its parent must wait for it, or it stays a zombie for as long as the worker runs.
        threading.Thread(target=process.wait, name=f"reaper-{process.pid}", daemon=True).start()
        return save_local_handle(attempt, process.pid)

    def query(self, handle: Handle) -> ProcessStatus:
        process = handle.process
        if process is not None and process.is_local and process.is_alive:
            return ProcessStatus(state="running")
        return ProcessStatus(state="lost", sentence=_lost_message(process))


def _lost_message(process: ProcessIdentity | None) -> str:
    if process is not None and not process.is_local:
        return f"The process was started on the machine {process.host}, and cannot be monitored from this one."
    return "The process was killed before it could record its exit code, or the machine was restarted."
