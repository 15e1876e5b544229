"""Tables, JSON and sentences on stdout."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns as wide as their widest entry; an empty table is only its head."""
    texts = [list(head), *([str(entry) for entry in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    for row in texts:
        print("  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip())


def shorten(text: str, limit: int) -> str:
    """Return one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def print_result(options: argparse.Namespace, facts: Mapping[str, Any], sentence: str) -> None:
    """Print `facts` as JSON where `--json` is set, else the sentence."""
    if options.json:
        print_json(facts)
    else:
        print(sentence)
