"""Client of a user's Python function, which runs in a process of its own."""

import json
import logging
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rewards.clip import Clip
from rewards.external.clients import ONLY, CallFailed, ClipScores, checked_answer
from rewards.external.declaration import PythonFunction
from rewards.external.python_worker import read_message, write_message

START_S = 120.0  # importing a module with a large network takes its time
CALL_CLIPS = 8

log = logging.getLogger(__name__)


class PythonClient:
    """Scores clips by a function in another process.

    The process starts with the first call and after each failure.
    """

    def __init__(self, key: str, python: PythonFunction, folder: Path, names: Sequence[str]) -> None:
        self._where = f"The function {python.function} of the reward '{key}'"
        self._python = python
        self._folder = folder
        self._names = tuple(names)
        self._code = self._read_code()
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: queue.Queue[Any] = queue.Queue()
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        return self._python.function

    def score(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Return an answer for each clip; calls have up to 8 clips."""
        with self._lock:
            parts = [clips[start : start + CALL_CLIPS] for start in range(0, len(clips), CALL_CLIPS)]
            return [answer for part in parts for answer in self._score_part(part)]

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _score_part(self, clips: Sequence[Clip]) -> list[ClipScores]:
        try:
            request: dict[str, Any] = {
                "prompts": [clip.prompt for clip in clips],
                "completions": [clip.frames for clip in clips],
                "fps": [float(clip.fps) for clip in clips],
            }
            if any(clip.first_picture is not None for clip in clips):
                request["first_picture"] = [clip.first_picture for clip in clips]
            return self._answers(self._call(request), len(clips))
        except CallFailed as error:
            log.warning("%s", error)
            return [ClipScores(error=str(error))] * len(clips)

    def _call(self, request: Mapping[str, Any]) -> Any:
        process = self._process or self._start()
        assert process.stdin is not None, "the process was started with a pipe"
        try:
            write_message(process.stdin, pickle.dumps(request, protocol=5))  # type: ignore[arg-type]
            reply = self._reply(self._python.timeout_s)
        except OSError as error:
            self._stop()
            raise CallFailed(f"{self._where} ended its process with exit code {process.returncode}.") from error
        if "error" in reply:
            raise CallFailed(f"{self._where} raised {reply['error']}.")
        return reply["values"]

    def _read_code(self) -> bytes:
        file = self._folder / self._python.function.rpartition(":")[0]
        return file.read_bytes() if file.suffix == ".py" and file.is_file() else b""

    def _start(self) -> subprocess.Popen[bytes]:
        if self._read_code() != self._code:
            raise CallFailed(f"{self._where} has changed since the start of this work: start it again to use it.")
        self._replies = queue.Queue()
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "rewards.external.python_worker", self._python.function, str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=_forward, args=(process, self._replies), daemon=True).start()
        reply = self._reply(START_S)
        if "error" in reply:
            self._stop()
            raise CallFailed(f"{self._where} cannot be loaded: {reply['error']}.")
        return process

    def _reply(self, timeout_s: float) -> Any:
        try:
            reply = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            self._stop()
            raise CallFailed(f"{self._where} gave no answer within {timeout_s:g} s; its process was killed.") from None
        if reply is None:
            process = self._process
            code = process.wait() if process else None
            self._stop()
            raise CallFailed(f"{self._where} ended its process with exit code {code}.")
        return reply

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):  # a request that the process never read
                        stream.close()

    def _answers(self, values: Any, count: int) -> list[ClipScores]:
        columns = values if isinstance(values, Mapping) else {ONLY: values}
        for name, column in columns.items():
            of = f" for {name}" if name else ""
            if not isinstance(column, list):
                raise CallFailed(f"{self._where} gave {str(column)[:60]}{of} instead of a list of numbers.")
            if len(column) != count:
                raise CallFailed(f"{self._where} gave {len(column)} values{of} for {count} clips.")
        rows = [{name: column[row] for name, column in columns.items()} for row in range(count)]
        return [checked_answer(row, self._names, self._where) for row in rows]


def _forward(process: "subprocess.Popen[bytes]", replies: "queue.Queue[Any]") -> None:
    """Put the process's messages into the queue, and None at their end."""
    assert process.stdout is not None, "the process was started with a pipe"
    try:
        while True:
            replies.put(json.loads(read_message(process.stdout)))  # type: ignore[arg-type]
    except (EOFError, OSError, ValueError):
        replies.put(None)
