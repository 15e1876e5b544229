"""Short functions, short files. The figures are those of code that people like to read (see CONTRIBUTING)."""

import ast
import statistics
from pathlib import Path

FILE_LIMIT, FUNCTION_LIMIT, LOOP_LIMIT = 400, 80, 120
MEDIAN_LIMIT, P90_LIMIT = 10, 40

# Functions that may be longer, up to LOOP_LIMIT, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}

Sources = dict[str, ast.Module]


def function_lengths(sources: Sources) -> dict[str, int]:
    """`path:name` -> lines, from `def` to the last line, decorators not counted."""
    found: dict[str, int] = {}
    for path, tree in sources.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                name = f"{path}:{node.name}"
                found[name if name not in found else f"{name}:{node.lineno}"] = lines
    return found


def too_long(lengths: dict[str, int], allowed: dict[str, str]) -> list[str]:
    limits = {name: LOOP_LIMIT if name in allowed else FUNCTION_LIMIT for name in lengths}
    return [f"{name} has {lines} lines" for name, lines in lengths.items() if lines > limits[name]]


def percentile_90(values: list[int]) -> int:
    return sorted(values)[min(len(values) - 1, int(0.9 * len(values)))]


def long_files(paths: list[Path]) -> list[str]:
    sizes = {path: len(path.read_text(encoding="utf8").splitlines()) for path in paths}
    return [f"{path} has {lines} lines" for path, lines in sizes.items() if lines > FILE_LIMIT]


def test_functions_are_short(sources: Sources) -> None:
    lengths = function_lengths(sources)
    assert too_long(lengths, LONG_FUNCTIONS) == []
    assert statistics.median(lengths.values()) <= MEDIAN_LIMIT
    assert percentile_90(list(lengths.values())) <= P90_LIMIT


def test_the_list_of_exceptions_is_current(sources: Sources) -> None:
    lengths = function_lengths(sources)
    assert [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= FUNCTION_LIMIT] == []
    assert all(LONG_FUNCTIONS.values())


def test_files_are_short(root: Path) -> None:
    folders = ("app", "engine", "rewards", "tools", "examples", "tests")
    kinds = (".py", ".js", ".css", ".html")
    paths = [path for folder in folders for path in (root / folder).rglob("*") if path.suffix in kinds]
    assert len(paths) > 20
    assert long_files(paths) == []


def test_the_size_rules_can_fail(tmp_path: Path) -> None:
    body = "    x = 1\n" * 85
    lengths = function_lengths({"engine/x.py": ast.parse(f"def long():\n{body}def short():\n    pass")})
    assert lengths == {"engine/x.py:long": 86, "engine/x.py:short": 2}
    assert too_long(lengths, {}) == ["engine/x.py:long has 86 lines"]
    assert too_long(lengths, {"engine/x.py:long": "the one loop"}) == []
    assert percentile_90([1, 2, 3, 4, 5, 6, 7, 8, 9, 99]) == 99
    (tmp_path / "a.py").write_text("x = 1\n" * 401)
    assert long_files([tmp_path / "a.py"]) == [f"{tmp_path / 'a.py'} has 401 lines"]
