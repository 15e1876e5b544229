"""The table of preflight checks: every check that is made has a label, and the documentation uses the labels."""

import ast
import re
from pathlib import Path

from engine.training.preflight.preflight_check import CHECKS


def emitted(folder: Path) -> set[str]:
    """Names of all `PreflightCheck(name=...)` in the folder's modules. Raises AssertionError for a computed name."""
    names = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PreflightCheck":
                (name,) = (keyword.value for keyword in node.keywords if keyword.arg == "name")
                assert isinstance(name, ast.Constant) and isinstance(name.value, str), (file.name, node.lineno)
                names.add(name.value)
    return names


def refusals(page: str) -> list[str]:
    """First cells of the table of checks that refuse a run, of the troubleshooting page."""
    table = page.split("| check | refused because |")[1].split("\n\n")[0]
    return [name for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:] for name in row.split(", ")]


def test_every_check_that_is_made_has_a_label(root: Path) -> None:
    assert emitted(root / "engine/training/preflight") == set(CHECKS)
    labels = [check.label for check in CHECKS.values()]
    assert len(set(labels)) == len(labels)


def test_a_check_outside_the_table_is_found(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text('check = PreflightCheck(name="unheard", level="ok", sentence="Fine.")\n')
    assert emitted(tmp_path) - set(CHECKS) == {"unheard"}


def test_troubleshooting_names_checks_as_the_page_does(root: Path) -> None:
    named = refusals((root / "docs/troubleshooting.md").read_text(encoding="utf8"))
    assert len(named) > 8
    assert set(named) <= {check.label for check in CHECKS.values()}
