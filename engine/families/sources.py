"""Sources of a model preset: paths on this machine, or repositories of the hub at a revision. Imports no torch.

A source of the hub is `owner/name` or `owner/name/file`, with `@revision` after the name where one is wanted.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.package_data import shipped_path

if TYPE_CHECKING:
    from engine.config.schema import ModelPreset

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REVISION = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A repository of the hub, at a commit, a tag or a branch; `file` is empty for all of it."""

    repository: str
    revision: str = DEFAULT_REVISION
    file: str = ""

    @classmethod
    def read(cls, source: str, revision: str | None = None) -> "HubSource":
        """`revision` holds where the source names none."""
        owner, name, *file = source.split("/", 2)
        name, _, own = name.partition("@")
        return cls(
            repository=f"{owner}/{name}", revision=own or revision or DEFAULT_REVISION, file=file[0] if file else ""
        )

    def snapshot(self) -> Path | None:
        """The folder of the revision in the hub's cache, whole or not; None when it is not there."""
        from huggingface_hub import constants

        stored = Path(constants.HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"
        commit = self.revision
        if not COMMIT.fullmatch(commit):
            try:
                commit = (stored / "refs" / self.revision).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                return None
        folder = stored / "snapshots" / commit
        return folder if commit and folder.is_dir() else None


def is_path(source: str) -> bool:
    """Whether a source can only be a file or folder, there or not."""
    return source.startswith(("/", ".", "~")) or source.count("/") not in (1, 2)


def local_path(source: str) -> Path | None:
    """Return the file or folder of a source, shipped or relative to the current folder; None when there is none."""
    paths = (shipped_path(source), Path(os.path.expanduser(source)))
    return next((path for path in paths if path is not None and path.exists()), None)


def cached_revisions(preset: "ModelPreset") -> dict[str, str]:
    """By repository, the commit whose weights the model is loaded from; nothing for folders, which have no revision."""
    wanted = [(preset.source, preset.revision), *((source, None) for source in preset.parts.values())]
    found = [
        HubSource.read(source, revision)
        for source, revision in wanted
        if local_path(source) is None and not is_path(source)
    ]
    snapshots = {one.repository: one.snapshot() for one in found}
    return {name: folder.name for name, folder in snapshots.items() if folder is not None}
