"""Repositories of the hub, and their place in the cache of the hub's client. Uses no network."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REVISION = "main"
RepositoryKind = Literal["model", "dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """A hub repository at a commit, a tag or a branch; `file` is empty for the whole repository."""

    repository: str
    revision: str = DEFAULT_REVISION
    file: str = ""
    kind: RepositoryKind = "model"

    @classmethod
    def read(cls, source: str, revision: str | None = None) -> "HubSource":
        """Parse a source; `revision` applies when the source contains none.

        A slash of the source's own revision is written %2F, as in "owner/name@refs%2Fpr%2F3".
        """
        owner, name, *file = source.split("/", 2)
        name, _, own = name.partition("@")
        return cls(
            repository=f"{owner}/{name}",
            revision=unquote(own) or revision or DEFAULT_REVISION,
            file=file[0] if file else "",
        )

    @property
    def page(self) -> str:
        """The path of the repository's page on the hub."""
        return self.repository if self.kind == "model" else f"{self.kind}s/{self.repository}"

    @property
    def cache_folder(self) -> Path:
        """The repository's folder in the cache of the hub's client, which may not exist."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE) / f"{self.kind}s--{self.repository.replace('/', '--')}"

    def snapshot(self) -> Path | None:
        """Return the folder of the revision in the hub's cache, complete or not; None when it is not cached."""
        commit = self.revision
        if not COMMIT.fullmatch(commit):
            try:
                commit = (self.cache_folder / "refs" / self.revision).read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                return None
        folder = self.cache_folder / "snapshots" / commit
        return folder if commit and folder.is_dir() else None
