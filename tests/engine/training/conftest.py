"""A fresh tiny model for each trainer, since training changes it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.workspace import Workspace


@pytest.fixture(scope="session")
def untrained(tiny_folder: Path, open_family: Callable[[Path], Any]) -> Any:
    """The tiny model, opened once for `open_tiny`: a copy takes a fraction of the time of opening."""
    return open_family(tiny_folder)


@pytest.fixture(scope="session")
def open_tiny(untrained: Any) -> Callable[[], Any]:
    return lambda: copy.deepcopy(untrained)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").prepare()
