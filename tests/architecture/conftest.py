"""The sources that the rules are checked on, read once."""

import ast
from pathlib import Path

import pytest

PACKAGES = ("app", "engine", "rewards")
Sources = dict[str, ast.Module]  # path relative to the repository, with forward slashes -> its syntax tree


def parse_all(root: Path, folders: tuple[str, ...]) -> Sources:
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return {path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf8")) for path in paths}


@pytest.fixture(scope="session")
def sources(root: Path) -> Sources:
    """Every module of app, engine and rewards."""
    return parse_all(root, PACKAGES)


@pytest.fixture(scope="session")
def test_sources(root: Path) -> Sources:
    """Every module under tests."""
    return parse_all(root, ("tests",))
