"""Files of the server's disk that a person may name on the page: those in folders that the operator has opened.

Everything else reaches the page as an upload. The imported pairs of the workspace may be named too.
"""

from pathlib import Path

from app.context import AppContext
from app.text import access
from engine.errors import ConfigError


def opened_path(desk: AppContext, typed: str) -> Path:
    """The file or folder of the server that was typed, links resolved. Raises ConfigError for one outside the opened
    folders, whether it exists or not."""
    try:
        path = Path(typed.strip()).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an unknown user, a NUL
        path = None
    places = [*desk.folders, desk.workspace.pairs]
    if path is None or not any(path.is_relative_to(place.resolve()) for place in places):
        raise ConfigError(access.NOT_OPENED.format(path=typed.strip()[:200]))
    return path
