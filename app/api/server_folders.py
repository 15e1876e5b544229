"""Files on the server that users may name on the page: those in folders opened by the operator.

The imported pairs of the workspace are allowed too. All other files must be uploaded.
"""

from pathlib import Path

from app.context import AppContext
from app.text import access
from engine.errors import ConfigError


def opened_path(context: AppContext, typed: str) -> Path:
    """Return the typed file or folder of the server, with links resolved.

    Raises ConfigError for a path outside the opened folders, whether it exists or not.
    """
    try:
        path = Path(typed.strip()).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, an unknown user, a NUL
        path = None
    allowed = [*context.folders, context.workspace.pairs]
    if path is None or not any(path.is_relative_to(folder.resolve()) for folder in allowed):
        raise ConfigError(access.NOT_OPENED.format(path=typed.strip()[:200]))
    return path
