"""Models in the hub's cache: their size, verification and removal. Uses no network."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.errors import HubError
from engine.files.locks import is_held
from engine.hub.download import digest_of
from engine.hub.repository import COMMIT, HubSource
from engine.hub.selection import Needs, missing_files, read_object, select_files

SHA256 = re.compile(r"[0-9a-f]{64}")


def is_complete(source: HubSource, needs: Needs) -> bool:
    """Return True when the cache has all needed files of the revision."""
    folder = source.snapshot()
    return folder is not None and not missing_files(folder, needs)


def cached_b(source: HubSource) -> int:
    """Return the bytes that the cache holds of a repository, partial files included."""
    blobs = source.cache_folder / "blobs"
    return sum(file.stat().st_size for file in blobs.iterdir()) if blobs.is_dir() else 0


def find_damaged(
    source: HubSource, needs: Needs, progress: Callable[[int], None] | None = None, *, forget: bool = False
) -> list[str]:
    """Return a sentence for each needed file that is missing, damaged, or has no checksum.

    Files are compared with the checksums that the hub gave when they were downloaded, which are their names in the
    cache. A cache without links, such as a copied one, has no such names. `progress` is called with the number of bytes
    read since the last call. With `forget`, damaged files are deleted, so that the next download replaces them.
    """
    folder = source.snapshot()
    if folder is None:
        return [f"'{source.repository}' is not in the hub's cache."]
    problems = [f"'{source.repository}' lacks {name}." for name in missing_files(folder, needs)]
    for path in _selected(folder, needs):
        blob, name = path.resolve(), path.relative_to(folder)
        if not (SHA256.fullmatch(blob.name) or COMMIT.fullmatch(blob.name)):
            problems.append(f"{name} cannot be compared: the cache has no checksum of it.")
        elif digest_of(blob, blob.name, progress) != blob.name:
            problems.append(f"{name} differs from its checksum {blob.name[:12]}...")
            if forget:
                path.unlink()
                blob.unlink(missing_ok=True)
    return problems


def verified_b(source: HubSource, needs: Needs) -> int:
    """Return the number of bytes that `find_damaged` reads."""
    folder = source.snapshot()
    return sum(path.stat().st_size for path in _selected(folder, needs)) if folder else 0


def remove(sources: Iterable[HubSource]) -> int:
    """Delete repositories from the hub's cache and return the freed bytes. Raises HubError."""
    sources = {source.repository: source for source in sources}.values()
    for source in sources:
        if any(is_held(lock) for lock in _locks(source).glob("*.lock")):
            raise HubError(f"'{source.repository}' is being downloaded: cancel the download first.")
    return sum(_remove(source) for source in sources)


def _remove(source: HubSource) -> int:
    folder, size_b = source.cache_folder, cached_b(source)
    if not folder.is_dir():
        return 0
    removed = folder.with_name(f".removed-{secrets.token_hex(4)}")
    try:
        os.replace(folder, removed)  # first out of sight as a whole: half a model is never offered
        shutil.rmtree(removed)
    except OSError as error:
        raise HubError(f"'{folder}' cannot be deleted: {error.strerror}. Check its permissions.") from error
    shutil.rmtree(_locks(source), ignore_errors=True)
    return size_b


def _locks(source: HubSource) -> Path:
    return source.cache_folder.parent / ".locks" / source.cache_folder.name


def _selected(folder: Path, needs: Needs) -> list[Path]:
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    chosen = select_files(paths, needs, lambda name: read_object(folder / name))
    return [folder / path for path in chosen if (folder / path).is_file()]
