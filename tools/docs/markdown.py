"""Tables in Markdown."""

from collections.abc import Iterable


def markdown(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a table; "|" in a cell is escaped by the caller."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
