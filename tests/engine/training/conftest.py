"""A fresh tiny model for each trainer, since training changes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.workspace import Workspace


@pytest.fixture
def open_tiny(tiny_folder: Path, open_family: Callable[[Path], Any]) -> Callable[[], Any]:
    return lambda: open_family(tiny_folder)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").prepare()
