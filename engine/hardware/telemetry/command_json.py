"""Asking a vendor's command line tool: it may be missing, hang, say something before its JSON, or nonsense instead."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 5.0
FIRST = (Path("/opt/rocm/bin"),)
"""Looked in before PATH: an old tool in /usr/local/bin can outlive the ROCm that it came with."""


class ToolFailed(Exception):
    """The tool is there, but what it said is of no use; the message says why."""


def find_tool(name: str, first: Sequence[Path] = FIRST) -> str | None:
    found = (shutil.which(name, path=str(folder)) for folder in first)
    return next((path for path in found if path), None) or shutil.which(name)


def ask(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """What the tool prints. Raises ToolFailed when it cannot be run, hangs (it is then killed) or fails."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that what the tool starts can be ended with it
        )
    except OSError as error:
        raise ToolFailed(f"cannot be run: {error.strerror or error}") from error
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise ToolFailed(f"did not answer within {timeout_s:g} s") from error
    if process.returncode != 0:
        said = err.decode(errors="replace").strip().splitlines()
        raise ToolFailed(f"ended with code {process.returncode}{f': {said[-1][:200]}' if said else ''}")
    return out.decode(errors="replace")


def first_json(said: str) -> Any:
    """The first JSON list or object in a text, whatever stands before or after it. Raises ToolFailed without one."""
    decoder = json.JSONDecoder()
    for position, letter in enumerate(said):
        if letter in "[{":
            with contextlib.suppress(ValueError):
                found = decoder.raw_decode(said, position)[0]
                if found and not _is_words(found):
                    return found
    raise ToolFailed(f"printed no JSON: {' '.join(said.split())[:120] or 'nothing'}")


def _is_words(found: Any) -> bool:
    """A list of bare values, such as a log line's "[1]"."""
    return isinstance(found, list) and not any(isinstance(one, dict) for one in found)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: nobody can end it
        process.wait(1.0)
