"""Checks of the documentation: complete, without broken links, its generated parts up to date."""

import ast
import re
import runpy
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

ALGORITHM_FILES = "engine/algorithms"
NOT_VARIABLES = {"DAILIES_FPS", "DAILIES_SHA256"}  # tags in video files
README_BYTES = 8 * 1024


@pytest.fixture(scope="session")
def pages(root: Path) -> dict[str, str]:
    """Every page of the documentation by its path from the root."""
    paths = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf8") for path in paths}


def tool(root: Path, name: str) -> SimpleNamespace:
    """A script of tools/docs."""
    return SimpleNamespace(**runpy.run_path(str(root / "tools/docs" / f"{name}.py")))


@pytest.fixture(scope="session")
def tables(root: Path) -> SimpleNamespace:
    return tool(root, "page_tables")


@pytest.fixture(scope="session")
def configuration_page(root: Path) -> SimpleNamespace:
    return tool(root, "configuration_page")


def missing(names: list[str], text: str) -> list[str]:
    """Names that the text does not have in code letters or as a whole word."""
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


def broken_links(pages: Mapping[str, str], root: Path) -> list[str]:
    """Links, and files or folders named in code letters, that do not exist, as `page: name`."""
    folders = "app|engine|rewards|presets|tests|assets|tools|examples|docs|docker"
    broken = []
    for page, text in pages.items():
        linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
        named = re.findall(rf"`((?:{folders})/[\w./-]*)`", text)
        broken += [f"{page}: {name}" for name in linked if not (root / page).parent.joinpath(name).exists()]
        broken += [f"{page}: {name}" for name in named if not (root / name).exists()]
    return sorted(set(broken))


def unknown_names(text: str, root: Path) -> list[str]:
    """Names in table rows `| `FILE.py` | `name`, ... |` that the file does not define at its top level."""
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (`[^|]+`) \|", text, re.MULTILINE)
    rows += [(file, names) for names, file in re.findall(r"^\| (`[^|]+`) \| `([\w/]+\.py)` \|", text, re.MULTILINE)]
    unknown = []
    for file, cell in rows:
        names = set(re.findall(r"`(\w+)`", cell))
        unknown += [f"{file}: {name}" for name in sorted(names - defined(root / file))]
    return unknown


def defined(file: Path) -> set[str]:
    """Functions, classes and variables of a module."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def make_targets(makefile: str) -> list[str]:
    """Targets that `make help` lists."""
    return re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)


def variables(root: Path) -> list[str]:
    """Environment variables of ours that the code reads."""
    paths = [path for folder in ("app", "engine", "rewards") for path in (root / folder).rglob("*.py")]
    found = (re.findall(r"\bDAILIES_[A-Z0-9_]+\b", path.read_text(encoding="utf8")) for path in paths)
    return sorted({name for names in found for name in names} - NOT_VARIABLES)


def offered(kind: str, root: Path) -> list[str]:
    """The keys of what users can choose or contributors can add."""
    from engine.config.algorithms import ALGORITHMS
    from engine.config.presets import preset_keys
    from engine.families.registry import FAMILIES
    from rewards import REWARDS

    if kind == "rewards":
        return list(REWARDS)
    if kind == "families":
        return list(FAMILIES)
    if kind == "algorithms":
        return list(ALGORITHMS)
    if kind == "presets":
        return [key for folder in ("models", "rewards", "train", "curricula") for key in preset_keys(folder)]
    if kind == "variables":
        return variables(root)
    if kind == "commands":
        commands = tool(root, "cli_page")
        return [f"dailies {words}" for words, _, _ in commands.leaf_commands(commands.build_parser())]
    if kind == "make":
        return [f"make {target}" for target in make_targets((root / "Makefile").read_text(encoding="utf8"))]
    folder = {"tabs": "app/tabs", "losses": ALGORITHM_FILES}[kind]
    stems = [path.stem for path in sorted((root / folder).glob("*.py")) if path.stem not in ("__init__", "base")]
    return [stem.title() for stem in stems] if kind == "tabs" else stems


KINDS = ["rewards", "families", "algorithms", "losses", "presets", "commands", "make", "tabs", "variables"]


@pytest.mark.parametrize("kind", KINDS)
def test_everything_offered_is_documented(kind: str, pages: Mapping[str, str], root: Path) -> None:
    names = offered(kind, root)
    assert names
    assert missing(names, "\n".join(pages.values())) == []


def test_readme_is_short(root: Path) -> None:
    assert (root / "README.md").stat().st_size <= README_BYTES


def test_tables_are_current(pages: Mapping[str, str], tables: SimpleNamespace) -> None:
    assert [page for page, text in pages.items() if tables.fill(text) != text] == [], "run `make docs`"
    placed = [name for text in pages.values() for name in re.findall(r"^<!-- table: (\w+) -->$", text, re.MULTILINE)]
    assert sorted(set(placed)) == sorted(tables.TABLES)


def test_command_line_page_is_current(pages: Mapping[str, str], root: Path) -> None:
    assert tool(root, "cli_page").text() == pages["docs/cli.md"], "run `make docs`"


def test_configuration_page_is_current(
    pages: Mapping[str, str], configuration_page: SimpleNamespace, root: Path
) -> None:
    page = pages["docs/configuration.md"]
    assert configuration_page.text() == page, "run `make docs`"
    for title in [
        *configuration_page.ROOTS.values(),
        *configuration_page.PARTS.values(),
        *map("`{}`".format, configuration_page.ALGORITHMS),
    ]:
        assert title in page
    assert sorted(configuration_page.VARIABLES) == variables(root)

    class Silent(BaseModel):
        width: int
        """px."""
        height: int

    with pytest.raises(ValueError, match=r"Silent.height has no description"):
        configuration_page.table(Silent)


def test_links_and_named_files_exist(pages: Mapping[str, str], root: Path) -> None:
    assert broken_links(pages, root) == []


def test_names_in_tables_exist(pages: Mapping[str, str], root: Path) -> None:
    assert [name for text in pages.values() for name in unknown_names(text, root)] == []


def test_architecture_page_lists_the_layers_in_order(pages: Mapping[str, str], root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf8"))["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    section = pages["docs/architecture.md"].partition("## Layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    assert [re.findall(r"`([\w.]+)`", row) for row in rows] == [layer.split(" : ") for layer in layers]


def test_every_page_is_in_the_navigation(pages: Mapping[str, str], root: Path) -> None:
    navigation = (root / "mkdocs.yml").read_text(encoding="utf8").partition("\nnav:\n")[2]
    listed = {f"docs/{name}" for name in re.findall(r"^ +- ([\w-]+\.md)$", navigation, re.MULTILINE)}
    assert listed == {page for page in pages if page.startswith("docs/")}


def test_the_docs_rules_can_fail(tmp_path: Path, tables: SimpleNamespace) -> None:
    assert missing(["seam", "loop_break", "dpo"], "`seam` and seamless loop_breaks") == ["loop_break", "dpo"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").touch()
    (tmp_path / "code.py").write_text("LIMIT: int = 1\nfound = 2\nclass Thing: ...\ndef use(): ...\n")
    text = "[a](there.md) [b](gone.md) [c](https://example.org/x) `engine/gone.py` `docs/` `app/gone/`"
    broken = ["engine/gone.py", "app/gone/", "gone.md"]
    assert broken_links({"docs/page.md": text}, tmp_path) == sorted(f"docs/page.md: {name}" for name in broken)
    rows = "| `code.py` | `use`, `lost` | a |\n| `Thing`, `LIMIT`, `gone` | `code.py` | b |"
    assert unknown_names(rows, tmp_path) == ["code.py: lost", "code.py: gone"]
    assert make_targets("app: install ## serve\nvenv:\nfix: ## x") == ["app", "fix"]
    stale = "<!-- table: models -->\nold\n<!-- end -->"
    assert "old" not in tables.fill(stale)
