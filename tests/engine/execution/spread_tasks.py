"""Small functions for executors, which processes that a test starts can import too."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def open_doubler(config: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Double `number` and log it to `diary`; from `hold_from` on, wait while the file `hold` exists."""
    diary, hold = Path(config["diary"]), Path(config["hold"])

    def double(item: Mapping[str, Any]) -> dict[str, Any]:
        while item["number"] >= config["hold_from"] and hold.exists():
            time.sleep(0.01)
        with diary.open("a") as file:
            file.write(f"{item['number']} {os.getpid()}\n")
        if item["number"] < 0:
            return {"error": "It is negative."}
        return {"double": 2 * item["number"]}

    return double


def open_counter(config: Mapping[str, Any]) -> Callable[[Any], tuple[Any, int, int]]:
    """Gives the item back with its own pid and how often it was called, so that state that stays is seen."""
    calls = 0

    def count(item: Any) -> tuple[Any, int, int]:
        nonlocal calls
        calls += 1
        return item, os.getpid(), calls

    return count


def open_breaker(config: Mapping[str, Any]) -> Callable[[Any], Any]:
    def broken(item: Any) -> Any:
        raise ValueError(f"{item} is too much")

    return broken
