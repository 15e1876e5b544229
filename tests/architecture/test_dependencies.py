"""The product declares each library that it imports, so that another library's upgrade cannot take it away."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = {"app", "engine", "rewards", "presets", "assets"}
OPTIONAL = {"gguf": "gguf", "ray": "ray", "submitit": "submitit", "torchao": "torchao"}
"""Distributions of the extras by module; they need not be installed here."""


def imported(source: str) -> Iterator[str]:
    """Top-level modules that a file imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


def undeclared(modules: set[str], declared: set[str]) -> set[str]:
    distributions = {**packages_distributions(), **{module: [name] for module, name in OPTIONAL.items()}}
    return {
        module
        for module in modules - OWN - set(sys.stdlib_module_names)
        if not {canonicalize_name(name) for name in distributions.get(module, [])} & declared
    }


def test_each_imported_library_is_declared(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {canonicalize_name(Requirement(line).name) for line in [*project["dependencies"], *extras]}
    files = [file for package in ("app", "engine", "rewards") for file in (root / package).rglob("*.py")]
    modules = {module for file in files for module in imported(file.read_text(encoding="utf8"))}
    assert len(modules) > 40 and undeclared(modules, declared) == set()


def test_the_rule_can_fail() -> None:
    assert set(imported("import a.b, numpy\nfrom c.d import e\nfrom . import f")) == {"a", "numpy", "c"}
    assert undeclared({"numpy", "PIL", "json", "app", "unknown"}, {"pillow"}) == {"numpy", "unknown"}
