"""Text cells of the CSV files that Dailies writes, safe to open in a spreadsheet.

A spreadsheet evaluates a cell that begins with one of `=`, `+`, `-`, `@`, a tab or a line break (OWASP, "CSV
Injection"). `guarded` puts an apostrophe before such a cell; `unguarded` removes exactly this apostrophe.
"""

import re

# Also the full-width forms of the four characters, which spreadsheets convert.
_LIVE = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def guarded(text: str) -> str:
    """Return `text` as a cell that spreadsheets do not evaluate."""
    return f"'{text}" if _LIVE.match(text) else text


def unguarded(cell: str) -> str:
    """Return the text from which `guarded` made the cell."""
    return cell[1:] if cell.startswith("'") and _LIVE.match(cell) else cell
