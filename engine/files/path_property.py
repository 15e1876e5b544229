"""`PathProperty`: a property of an immutable class that owns paths, in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


class PathProperty:
    """A path made from its owner: `clips = PathProperty(lambda self: self.root / "clips")`."""

    def __init__(self, build: Callable[[Any], Path]) -> None:
        self._build = build

    def __get__(self, owner: object, of: type) -> Path:
        return self._build(owner)
