"""The folder through which many small things are given to a cluster and come back.

FOLDER/
    lock               held by the process that waits for the results
    task.json          what is done with each item
    items.jsonl        one item a line
    results.jsonl      {"item": ..., "result": ...} a line, in the order in which they became ready
    log.txt, process.json, attempts/   the process that does it, see engine.execution.attempt
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
class SpreadFolder:
    folder: Path

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def begin(self, task: Mapping[str, Any], items: Sequence[Item]) -> None:
        """Write down what is to be done; results of an earlier time go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "results.jsonl").unlink(missing_ok=True)
        (self.folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        (self.folder / "items.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")

    def task(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "task.json").read_bytes())
        return found

    def items(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in _lines(self.folder / "items.jsonl")]

    def append(self, results: Iterable[tuple[Item, Item]]) -> None:
        """Write results as they become ready, each line at once."""
        with (self.folder / "results.jsonl").open("a", encoding="utf-8") as file:
            for item, result in results:
                file.write(json.dumps({"item": item, "result": result}) + "\n")
                file.flush()

    def results(self, offset: int = 0) -> tuple[list[Pair], int]:
        """Items with their results from this byte on, and where to go on; a line that is not whole yet is left."""
        try:
            with (self.folder / "results.jsonl").open("rb") as file:
                file.seek(offset)
                found = file.read()
        except FileNotFoundError:
            return [], 0
        whole = found[: found.rfind(b"\n") + 1]
        return list(_pairs(whole.decode().splitlines())), offset + len(whole)

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
