"""Process that runs a user's reward function.

Its command is `python -m rewards.external.python_worker FUNCTION FOLDER`. Messages are a length (8 bytes, big-endian)
and a pickle on the standard input, or JSON on the original standard output: the parent runs no code of the user's. What
the function prints goes to standard error. The process ends with its standard input, or with its parent.
"""

import importlib
import importlib.util
import json
import os
import pickle
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

HEADER = struct.Struct(">Q")
PARENT_CHECK_S = 1.0


def write_message(stream: BinaryIO, data: bytes) -> None:
    """Write one message."""
    stream.write(HEADER.pack(len(data)) + data)
    stream.flush()


def read_message(stream: BinaryIO) -> bytes:
    """Read one message. Raises EOFError at the end of the stream."""
    (length,) = HEADER.unpack(_read(stream, HEADER.size))
    return _read(stream, length)


def write_reply(stream: BinaryIO, reply: Mapping[str, Any]) -> None:
    """Write a reply. Raises TypeError for an object that JSON lacks; then nothing is written."""
    write_message(stream, json.dumps(reply).encode())


def _read(stream: BinaryIO, count: int) -> bytes:
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def load_function(name: str, folder: Path) -> Callable[..., Any]:
    """Return the function "module:function", or "file.py:function" relative to `folder`."""
    module_name, function = name.rsplit(":", 1)
    if not module_name.endswith(".py"):
        return getattr(importlib.import_module(module_name), function)
    path = (folder / module_name).resolve()
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, function)


def plain(answer: Any) -> Any:
    """Return the function's answer as lists of numbers and None.

    The answer is a list, array, tensor, or a dict of these.
    """
    if isinstance(answer, Mapping):
        return {str(name): plain(values) for name, values in answer.items()}
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
    if hasattr(answer, "tolist"):
        answer = answer.tolist()
    return [value.item() if hasattr(value, "item") else value for value in answer]


def cause(error: BaseException) -> str:
    """Return an exception as one line with the last line of the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}".replace("\n", " ")


def main() -> int:
    """Answer each request until the input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        function = load_function(sys.argv[1], Path(sys.argv[2]))
    except BaseException as error:
        write_reply(replies, {"error": cause(error)})
        return 1
    write_reply(replies, {"ready": True})
    while True:
        try:
            request = pickle.loads(read_message(sys.stdin.buffer))
        except EOFError:
            return 0
        try:
            write_reply(replies, {"values": plain(function(**request))})
        except Exception as error:
            write_reply(replies, {"error": cause(error)})


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
