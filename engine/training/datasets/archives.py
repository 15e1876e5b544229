"""Archives of clips (.zip, .tar, compressed .tar), unpacked as untrusted. Imports no torch."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any

from engine.errors import ConfigError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
Member = tuple[str, int, Callable[[], IO[bytes] | None]]
"""Name, size in bytes when unpacked, and how to open it."""


def is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVES)


def unpacked_folder(path: str) -> str:
    """Return the path of an archive without its suffix."""
    suffix = max((suffix for suffix in ARCHIVES if path.lower().endswith(suffix)), key=len)
    return path[: -len(suffix)]


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...], room_b: int) -> int:
    """Write the members with a wanted suffix into `folder`; return their size in bytes.

    When all members are in a folder of the archive's own name, this folder is `folder`. Links, and names that lead out
    of the archive, are left out. Raises ConfigError for a damaged archive, and for one that unpacks to more than
    `room_b` bytes.
    """
    try:
        with closing(_open(archive)) as opened:
            members = [member for member in _members(opened) if _is_wanted(member[0], wanted)]
            size_b = sum(size for _, size, _ in members)
            if size_b > room_b:
                raise ConfigError(
                    f"{archive.name} unpacks to {size_b / 1e9:.1f} GB, but the workspace's disk has room for "
                    f"{room_b / 1e9:.1f} GB: free space, or choose another workspace."
                )
            strip = {PurePosixPath(name).parts[0] for name, _, _ in members} == {folder.name}
            for name, _, read in members:
                _write(read, folder.joinpath(*PurePosixPath(name).parts[strip:]))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise ConfigError(f"{archive.name} is a damaged or locked archive: {error}.") from error
    return size_b


def _open(archive: Path) -> Any:
    return zipfile.ZipFile(archive) if archive.suffix.lower() == ".zip" else tarfile.open(archive)


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Member]:
    if isinstance(opened, zipfile.ZipFile):
        for info in opened.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, lambda info=info: opened.open(info)  # type: ignore[misc]
        return
    for entry in opened:
        if entry.isfile():
            yield entry.name, entry.size, lambda entry=entry: opened.extractfile(entry)  # type: ignore[misc]


def _is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    parts = PurePosixPath(name).parts
    is_inside = bool(parts) and ".." not in parts and not name.startswith("/") and "\\" not in name and "\0" not in name
    return is_inside and name.lower().endswith(wanted) and parts[0] != "__MACOSX"


def _write(read: Callable[[], IO[bytes] | None], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():  # a loose file of the data set: writing would change the hub's cache
        return
    source = read()
    assert source is not None, "only regular files are read"
    with source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
