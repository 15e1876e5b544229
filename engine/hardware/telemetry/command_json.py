"""Run a vendor's command line tool and parse its JSON.

The tool may be missing, hang, print text before its JSON, or print no JSON at all.
"""

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
PREFERRED_FOLDERS = (Path("/opt/rocm/bin"),)
"""Searched before PATH, where a tool of an uninstalled ROCm may remain, such as in /usr/local/bin."""


class ToolError(Exception):
    """The tool is installed, but its output is not usable; the message gives the reason."""


def find_tool(name: str, preferred: Sequence[Path] = PREFERRED_FOLDERS) -> str | None:
    """Return the path of a tool, None if it is not installed."""
    paths = (shutil.which(name, path=str(folder)) for folder in preferred)
    return next((path for path in paths if path), None) or shutil.which(name)


def run_tool(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """Return the tool's output. Raises ToolError when it cannot be run, fails, or hangs and is killed."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # its child processes can be killed with it
        )
    except OSError as error:
        raise ToolError(f"cannot be run: {error.strerror or error}") from error
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise ToolError(f"did not answer within {timeout_s:g} s") from error
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines()
        raise ToolError(f"exited with code {process.returncode}{f': {lines[-1][:200]}' if lines else ''}")
    return out.decode(errors="replace")


def first_json(output: str) -> Any:
    """Return the first JSON list or object in a text, ignoring other text.

    Raises ToolError if there is none.
    """
    decoder = json.JSONDecoder()
    for position, letter in enumerate(output):
        if letter in "[{":
            with contextlib.suppress(ValueError):
                value = decoder.raw_decode(output, position)[0]
                if value and not _is_log_text(value):
                    return value
    raise ToolError(f"printed no JSON: {' '.join(output.split())[:120] or 'nothing'}")


def _is_log_text(value: Any) -> bool:
    """Return whether the value is a list without objects, such as "[1]" in a log line."""
    return isinstance(value, list) and not any(isinstance(item, dict) for item in value)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel, where it cannot be killed
        process.wait(1.0)
