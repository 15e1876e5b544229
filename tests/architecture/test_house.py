"""Rules of the tree and of its language: folder sizes, class names with one meaning, the form of docstrings."""

import ast
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

FOLDER_LIMIT = 16
OPENS_LIKE_A_QUESTION = re.compile(r"^(What|Whether|Who|Where|Which|How)\b")
BANNED = re.compile(r"\b(nobody|somebody|everybody|whoever|foretold|foretells|anew)\b", re.IGNORECASE)
Sources = dict[str, ast.Module]


def crowded_folders(sources: Sources) -> list[str]:
    """Folders with more modules than FOLDER_LIMIT."""
    modules: dict[str, int] = defaultdict(int)
    for path in sources:
        if not path.endswith("__init__.py"):
            modules[str(PurePosixPath(path).parent)] += 1
    return [f"{folder} has {count} modules" for folder, count in sorted(modules.items()) if count > FOLDER_LIMIT]


def repeated_classes(sources: Sources) -> list[str]:
    """Names of module-level classes that stand for two things."""
    places = defaultdict(list)
    for path, tree in sources.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    return [f"{name}: {', '.join(paths)}" for name, paths in sorted(places.items()) if len(paths) > 1]


def poor_docstrings(sources: Sources) -> list[str]:
    """Docstrings that open like a question, or with a banned word anywhere."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = []
    for path, tree in sources.items():
        for node in ast.walk(tree):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            if text and (OPENS_LIKE_A_QUESTION.search(text) or BANNED.search(text)):
                found.append(f"{path}:{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}")
    return found


def test_folders_are_small(sources: Sources) -> None:
    assert crowded_folders(sources) == []


def test_a_class_name_has_one_meaning(sources: Sources) -> None:
    assert repeated_classes(sources) == []


def test_docstrings_are_plain(sources: Sources) -> None:
    assert poor_docstrings(sources) == []


def test_the_top_level_packages(root: Path) -> None:
    packages = {path.parent.name for path in root.glob("*/__init__.py")}
    assert packages == {"app", "engine", "rewards", "presets", "assets", "tools", "examples"}


def test_the_rules_can_fail() -> None:
    bad = {f"engine/x/m{number}.py": ast.parse("class A:\n    'Whether it rains.'") for number in range(17)}
    assert crowded_folders(bad) == ["engine/x has 17 modules"]
    assert repeated_classes(bad)[0].startswith("A: engine/x/m0.py, engine/x/m1.py")
    assert len(poor_docstrings(bad)) == 17
    assert poor_docstrings({"engine/x.py": ast.parse("'''Return what nobody asked for.'''")}) != []
    assert poor_docstrings({"engine/x.py": ast.parse("'''Return the sum.'''")}) == []
