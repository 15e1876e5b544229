"""Text cells of the CSV files that Dailies writes, safe to open in a spreadsheet.

A spreadsheet evaluates a cell that begins with one of `=`, `+`, `-`, `@`, a tab or a line break (OWASP, "CSV
Injection"). Such a cell gets an apostrophe in front; `unguarded` removes exactly the one that `guarded` added.
"""

import re

# Also the full-width forms of the four characters, which spreadsheets convert.
_LIVE = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def guarded(text: str) -> str:
    """`text` as a cell that no spreadsheet evaluates."""
    return f"'{text}" if _LIVE.match(text) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _LIVE.match(cell) else cell
