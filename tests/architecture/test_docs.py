"""Docs that cannot lie: whatever a registry, a folder or a command line offers is in README.md or CONTRIBUTING.md."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

ALGORITHM_FILES = "engine/algorithms"
NOT_VARIABLES = {"DAILIES_FPS"}  # a tag in video files


@pytest.fixture(scope="session")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf8")


@pytest.fixture(scope="session")
def docs(root: Path, readme: str) -> str:
    return readme + (root / "CONTRIBUTING.md").read_text(encoding="utf8")


@pytest.fixture(scope="session")
def tables(root: Path) -> SimpleNamespace:
    """The script that makes README's tables."""
    return SimpleNamespace(**runpy.run_path(str(root / "tools/docs/readme_tables.py")))


@pytest.fixture(scope="session")
def config_docs(root: Path) -> SimpleNamespace:
    """The script that makes docs/config.md."""
    return SimpleNamespace(**runpy.run_path(str(root / "tools/docs/config_docs.py")))


def missing(names: list[str], text: str) -> list[str]:
    """Names that the text does not have in code letters or as a whole word."""
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


def broken_links(text: str, root: Path) -> list[str]:
    """Files that a markdown text links to, or names in code letters with a slash, and that are not there."""
    linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    named = re.findall(r"`((?:app|engine|rewards|presets|tests|assets|tools|examples)/[\w./-]+\.\w+)`", text)
    return sorted({name for name in linked + named if not (root / name).exists()})


def make_targets(makefile: str) -> list[str]:
    """Targets that `make help` lists."""
    return re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)


def variables(root: Path) -> list[str]:
    """Environment variables of ours that the code reads."""
    paths = [path for folder in ("app", "engine", "rewards") for path in (root / folder).rglob("*.py")]
    found = (re.findall(r"\bDAILIES_[A-Z_]+\b", path.read_text(encoding="utf8")) for path in paths)
    return sorted({name for names in found for name in names} - NOT_VARIABLES)


def offered(kind: str, root: Path) -> list[str]:
    """The keys of what users can choose or contributors can add."""
    from engine.config.presets import preset_keys
    from engine.families.registry import FAMILIES
    from rewards import REWARDS

    if kind == "rewards":
        return list(REWARDS)
    if kind == "families":
        return list(FAMILIES)
    if kind == "presets":
        return preset_keys("models") + preset_keys("rewards")
    if kind == "variables":
        return variables(root)
    if kind == "make":
        return [f"make {target}" for target in make_targets((root / "Makefile").read_text(encoding="utf8"))]
    folder = {"tabs": "app/tabs", "algorithms": ALGORITHM_FILES}[kind]
    stems = [path.stem for path in sorted((root / folder).glob("*.py")) if path.stem not in ("__init__", "base")]
    return [stem.title() for stem in stems] if kind == "tabs" else stems


@pytest.mark.parametrize("kind", ["rewards", "families", "presets", "make", "tabs", "algorithms", "variables"])
def test_everything_offered_is_documented(kind: str, docs: str, root: Path) -> None:
    names = offered(kind, root)
    assert names or kind == "algorithms"
    assert missing(names, docs) == []


def test_readme_tables_are_in_step(readme: str, tables: SimpleNamespace) -> None:
    assert tables.fill(readme) == readme, "run `make docs`"
    assert set(re.findall(r"<!-- table: (\w+) -->", readme)) == set(tables.TABLES)


def test_every_field_of_a_preset_is_documented(root: Path, config_docs: SimpleNamespace) -> None:
    page = (root / "docs/config.md").read_text(encoding="utf8")
    assert config_docs.text() == page, "run `make docs`"
    for title in [
        *config_docs.ROOTS.values(),
        *config_docs.PARTS.values(),
        *map("`{}`".format, config_docs.ALGORITHMS),
    ]:
        assert title in page

    class Silent(BaseModel):
        width: int
        """px."""
        height: int

    with pytest.raises(ValueError, match=r"Silent.height says nothing of itself"):
        config_docs.table(Silent)


def test_documented_files_exist(docs: str, root: Path) -> None:
    assert broken_links(docs, root) == []


def test_the_docs_rules_can_fail(tmp_path: Path, tables: SimpleNamespace) -> None:
    assert missing(["seam", "loop_break", "dpo"], "`seam` and seamless loop_breaks") == ["loop_break", "dpo"]
    (tmp_path / "there.md").touch()
    text = "[a](there.md) [b](gone.md) [c](https://example.org/x) `engine/gone.py`"
    assert broken_links(text, tmp_path) == ["engine/gone.py", "gone.md"]
    assert make_targets("app: install ## serve\nvenv:\nfix: ## x") == ["app", "fix"]
    stale = "<!-- table: models -->\nold\n<!-- end -->"
    assert "old" not in tables.fill(stale)
