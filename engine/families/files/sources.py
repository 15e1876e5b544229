"""Sources of a model preset: paths on this machine, or hub repositories at a revision.

Imports no torch.

A hub source is `owner/name` or `owner/name/file`, with an optional `@revision` after the name.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.hub.repository import HubSource
from engine.package_data import shipped_path

if TYPE_CHECKING:
    from engine.config.schema import ModelPreset


def is_path(source: str) -> bool:
    """Return True for a source that can only be a file or folder, existing or not."""
    return source.startswith(("/", ".", "~")) or source.count("/") not in (1, 2)


def local_path(source: str) -> Path | None:
    """Return the file or folder of a source, shipped or relative to the current folder.

    None when there is none.
    """
    paths = (shipped_path(source), Path(os.path.expanduser(source)))
    return next((path for path in paths if path is not None and path.exists()), None)


def cached_revisions(preset: "ModelPreset") -> dict[str, str]:
    """Return the commit of the cached weights by repository; folders have no revision and are left out."""
    sources = [(preset.source, preset.revision), *((source, None) for source in preset.parts.values())]
    on_hub = [
        HubSource.read(source, revision)
        for source, revision in sources
        if local_path(source) is None and not is_path(source)
    ]
    snapshots = {source.repository: source.snapshot() for source in on_hub}

    return {name: folder.name for name, folder in snapshots.items() if folder is not None}
