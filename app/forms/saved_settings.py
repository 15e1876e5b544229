"""Settings of the Generate form that were saved under a name, as files of the workspace.

They are all but the prompt, the seed and the kind of batch. A deleted file keeps its name with another suffix, so that
it can be restored.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.context import AppContext
from app.text import generate as text
from engine.errors import ConfigError, StoreError
from engine.files.atomic import write_text_atomic

SUFFIX, DELETED = ".json", ".deleted"


def folder(context: AppContext) -> Path:
    return context.workspace.saved / "settings"


def listing(context: AppContext, **more: Any) -> dict[str, Any]:
    """Return the value of a `SavedSettings`: the saved settings by title, and those deleted last."""
    saved = sorted((_entry(path) for path in folder(context).glob(f"*{SUFFIX}")), key=lambda row: row["title"].lower())
    deleted = sorted(folder(context).glob(f"*{DELETED}"), key=lambda path: path.stat().st_mtime_ns)
    return {"rows": saved, "deleted": _entry(deleted[-1]) if deleted else None, **more}


def save(context: AppContext, title: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Save settings by field name, and return the list. Raises ConfigError for no title or one in use."""
    title = " ".join(title.split())
    if not title:
        raise ConfigError(text.NO_SETTINGS_NAME)
    path = folder(context) / f"{hashlib.sha256(title.lower().encode()).hexdigest()[:12]}{SUFFIX}"
    try:
        write_text_atomic(path, json.dumps({"title": title, "values": values}, indent=2), new=True)
    except FileExistsError as error:
        raise ConfigError(f"Settings named '{title}' exist already: choose another name.") from error
    except OSError as error:
        raise StoreError(f"The settings cannot be written to {path}: {error.strerror or error}.") from error
    return listing(context, said=text.SAVED_SETTINGS.format(title=title))


def values_of(context: AppContext, key: str) -> dict[str, Any]:
    """Return saved settings by field name. Raises ConfigError if they no longer exist."""
    return dict(_read(_path(context, key, SUFFIX))["values"])


def delete(context: AppContext, key: str) -> dict[str, Any]:
    """Delete settings until they are restored, and return the list."""
    path = _path(context, key, SUFFIX)
    path.touch()  # the one deleted last is offered to be restored
    path.replace(path.with_suffix(DELETED))
    return listing(context)


def restore(context: AppContext, key: str) -> dict[str, Any]:
    """Restore deleted settings unless their name is in use again, and return the list."""
    path = _path(context, key, DELETED)
    if path.with_suffix(SUFFIX).exists():
        raise ConfigError(f"Settings named '{_read(path)['title']}' exist already: delete them first.")
    path.replace(path.with_suffix(SUFFIX))
    return listing(context)


def _path(context: AppContext, key: str, suffix: str) -> Path:
    paths = {path.stem: path for path in folder(context).glob(f"*{suffix}")}
    if key not in paths:
        raise ConfigError(text.NO_SUCH_SETTINGS)
    return paths[key]


def _read(path: Path) -> dict[str, Any]:
    """Return a file's content; one that is damaged has its key as the title and no values."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {"title": str(found["title"]), "values": dict(found["values"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"title": path.stem, "values": {}}


def _entry(path: Path) -> dict[str, Any]:
    found = _read(path)
    values = found["values"]
    return {"id": path.stem, "title": found["title"], "line": text.settings_line(values)}
