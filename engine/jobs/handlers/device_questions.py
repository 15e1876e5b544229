"""Questions about the machine's devices, answered by a process of their own. Imports no torch."""

import json
import sys
from tempfile import TemporaryFile
from typing import BinaryIO

from engine.execution.child import run_child
from engine.hardware.environment import process_environment
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress
from engine.workspace import Workspace

PROBE_S = 900.0  # the first convolution on ROCm may search for its kernel for minutes


def ask(question: str, workspace: Workspace, progress: JobProgress) -> JobSteps:
    """Return the answer of `python -m engine.hardware.probe QUESTION`; yield `progress` while it runs."""
    command = [sys.executable, "-m", "engine.hardware.probe", question]
    environment = process_environment(workspace)
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        code = yield from run_child(command, progress, env=environment, stdout=stdout, stderr=stderr, limit_s=PROBE_S)
        answer, errors = _lines(stdout), _lines(stderr)
    if code is None:
        return {"problem": f"The process did not finish within {PROBE_S:.0f} s."}
    try:
        if code == 0 and answer:
            return dict(json.loads(answer[-1]))
    except ValueError:
        errors = answer
    return {"problem": f"The process ended with code {code}: {errors[-1][:200] if errors else 'no output'}"}


def _lines(file: BinaryIO) -> list[str]:
    file.seek(0)
    return file.read().decode(errors="replace").strip().splitlines()
