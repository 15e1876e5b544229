"""A fresh tiny model for each trainer, since training changes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def open_tiny(tiny_folder: Path, open_family: Callable[[Path], Any]) -> Callable[[], Any]:
    return lambda: open_family(tiny_folder)
