"""`make doubles`: check every family on its doubles, and write the table in docs/models.md.

The checks are the tests with the marker `double`, slow ones included. Results are kept in tools/docs/doubles.json; with
pytest's own arguments, such as `-k wan`, only the cells that were checked are replaced. Exits with 1 when a check fails
or a cell stays empty.
"""

import json
import sys
from typing import Any

import pytest

from tools.docs import page_tables


class Cells:
    """Counts the checks of each family and column, and those that passed."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, dict[str, Any]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == "double" and report.when == "call" and not report.skipped:
                family, column, kind = value
                cell = self.found.setdefault(family, {}).setdefault(column, {"passed": 0, "of": 0, "kinds": []})
                cell["passed"] += report.passed
                cell["of"] += 1
                cell["kinds"] = sorted({*cell["kinds"], kind} - {""})


def main(arguments: list[str]) -> int:
    cells, before = Cells(), page_tables.read_doubles()
    code = pytest.main(["-q", "-m", "double", "tests/engine", *arguments], plugins=[cells])
    merged = {family: {**before.get(family, {}), **cells.found.get(family, {})} for family in {*before, *cells.found}}
    page_tables.DOUBLES.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n", encoding="utf8")
    page_tables.main()
    empty = page_tables.doubles().count(page_tables.NOT_CHECKED)
    if empty:
        sys.stderr.write(f"{empty} cells of the table in docs/models.md have no check.\n")
    return int(code != 0 or empty > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
