"""The folder of a batch: items for a cluster, and their results.

FOLDER/
    lock               held by the process that waits for the results
    task.json          the function that is applied to each item
    items.jsonl        one item a line
    results.jsonl      {"item": ..., "result": ...} a line, in the order in which they became ready
    log.txt, process.json, attempts/   the process that applies it, see engine.execution.attempt
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Item = Mapping[str, Any]
Pair = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class BatchFolder:
    folder: Path

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def begin(self, task: Mapping[str, Any], items: Sequence[Item]) -> None:
        """Write the task and its items, and remove earlier results."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "results.jsonl").unlink(missing_ok=True)
        (self.folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        (self.folder / "items.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")

    def task(self) -> dict[str, Any]:
        task: dict[str, Any] = json.loads((self.folder / "task.json").read_bytes())
        return task

    def items(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in _lines(self.folder / "items.jsonl")]

    def append(self, results: Iterable[tuple[Item, Item]]) -> None:
        """Write results as they become ready, each line at once."""
        with (self.folder / "results.jsonl").open("a", encoding="utf-8") as file:
            for item, result in results:
                file.write(json.dumps({"item": item, "result": result}) + "\n")
                file.flush()

    def results(self, offset: int = 0) -> tuple[list[Pair], int]:
        """Return items with results from byte `offset` on, and the next offset; stop at an incomplete line."""
        try:
            with (self.folder / "results.jsonl").open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], 0
        lines = content[: content.rfind(b"\n") + 1]
        return list(_pairs(lines.decode().splitlines())), offset + len(lines)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _pairs(lines: Iterable[str]) -> Iterator[Pair]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        yield row["item"], row["result"]
