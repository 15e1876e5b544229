"""Text files of users: decoding, splitting into lines and TOML, the same everywhere.

Accepted: UTF-8 with or without a byte order mark, and UTF-16 or UTF-32 with one (Excel's "Unicode text"). Any other
encoding is refused, because a guess between the 8-bit code pages changes words without notice.
"""

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LINE_END = re.compile(r"\r\n|\r|\n")
OTHER_BREAKS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
"""Further characters at which `str.splitlines` splits; here they are spaces within a line."""
CONVERT = "save it as UTF-8 (an editor's 'Save as', or `iconv -f CP1252 -t UTF-8 OLD > NEW`)"


class EncodingError(ValueError):
    """A file is not text in an accepted encoding; the message has the file, the line and the remedy."""


def decode(content: bytes, name: str) -> str:
    """Return the text of a file, without its byte order mark and with its line ends as they are.

    `name` is the name in error messages. Raises EncodingError for bytes that are not in an accepted encoding, and for
    NUL characters, which are a sign of UTF-16 without a mark or of a binary file.
    """
    mark, encoding = next(((mark, known) for mark, known in MARKS if content.startswith(mark)), (b"", "utf-8"))
    body = content[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(LINE_END.split(body[: error.start].decode(encoding, "replace")))
        byte = body[error.start]
        raise EncodingError(
            f"{name}, line {line}: the byte 0x{byte:02x} is not valid {encoding.upper()} text: {CONVERT}."
        ) from error
    if "\0" in text:
        line = len(LINE_END.split(text[: text.index("\0")]))
        raise EncodingError(f"{name}, line {line}: a NUL byte, so this is UTF-16 or not text: {CONVERT}.")
    return text


def split_lines(text: str) -> list[str]:
    """Return the lines without their ends (LF, CRLF or CR only).

    A line end at the end of the text adds no line.
    """
    lines = LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def one_line(text: str) -> str:
    """Replace breaks that are not line ends (U+2028, U+0085, vertical tab, ...) by spaces."""
    return OTHER_BREAKS.sub(" ", text)


def read_text(path: Path) -> str:
    """Return the text of a file, see `decode`. Raises OSError, EncodingError."""
    return decode(path.read_bytes(), str(path))


def parse_toml(text: str) -> dict[str, Any]:
    """Return the content of a TOML text with line ends of any kind.

    Raises ValueError with the position of a mistake.
    """
    try:
        return tomllib.loads("\n".join(split_lines(text)) + "\n")
    except RecursionError as error:
        raise ValueError("brackets are nested too deeply") from error
