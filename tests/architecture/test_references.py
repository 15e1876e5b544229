"""Modules, names and files of ours that texts mention exist: comments, docstrings, strings and the documentation."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

DOTTED = re.compile(r"(?<![\w./-])(engine|rewards|tools|examples)((?:\.[a-z_0-9]+)+)(?:[.:]([A-Za-z_]\w*))?")
FILE = re.compile(
    r"(?<![\w./-])((?:app|engine|rewards|tools|examples|presets)/[\w/-]+\.(?:py|toml|js|css|html|json))\b"
)
CODE = re.compile(r"""["'`]|\bimport\b|^\s*#""")  # a line that may name a module; others hold attributes of variables
NOT_OURS = {"engine.begin", "engine.dispose"}  # SQLAlchemy's engine


@cache
def names_in(root: Path, module: str) -> frozenset[str] | None:
    """Names at the top level of a module; None where there is no such module."""
    path = root / module.replace(".", "/")
    path = path / "__init__.py" if (path / "__init__.py").exists() else path.with_suffix(".py")
    if not path.exists():
        return None
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return frozenset(names)


def dangling(text: str, root: Path) -> Iterator[str]:
    """Dotted names and files of ours in a text that do not exist."""
    for line in text.splitlines():
        for match in DOTTED.finditer(line) if CODE.search(line) else ():
            parts = (match[1] + match[2]).split(".")
            known = len(parts)
            while known > 1 and names_in(root, ".".join(parts[:known])) is None:
                known -= 1
            rest = [*parts[known:], *([match[3]] if match[3] else [])]
            certain = known > 1 or match[1] == "engine"  # `rewards.x` may be an attribute of a variable
            if certain and rest and rest[0] not in (names_in(root, ".".join(parts[:known])) or ()):
                yield match[0]
        yield from (match[1] for match in FILE.finditer(line) if not (root / match[1]).exists())


def test_texts_name_what_exists(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    texts = [name for name in listed if name.endswith((".py", ".md", ".js")) or name == "Makefile"]
    texts = [name for name in texts if name != "CHANGELOG.md" and not name.startswith("tests/")]
    assert len(texts) > 400
    found = [f"{name}: {gone}" for name in texts for gone in dangling((root / name).read_text("utf-8"), root)]
    assert [line for line in found if line.split(": ")[1] not in NOT_OURS] == []


def test_the_rule_can_fail(root: Path) -> None:
    text = "see `engine.data.store` and `engine.storage.library.Store`, engine/data/store.py, `engine.storage.library`"
    assert list(dangling(text, root)) == ["engine.data.store", "engine.storage.library.Store", "engine/data/store.py"]
