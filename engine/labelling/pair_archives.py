"""Import of preference pairs from a zip file, as uploaded to the page or exported elsewhere."""

import shutil
import zipfile
from pathlib import Path

from engine.errors import ConfigError, StoreError
from engine.files.manifests import UNREADABLE_ZIP
from engine.labelling.pair_exchange import ImportedPairs, import_pairs, pairs_file
from engine.storage.library import Library
from engine.storage.temp_folders import temp_path
from engine.workspace import Workspace

UNPACKED_LIMIT = 50 * 1024**3  # bytes


def import_archive(store: Library, file: Path) -> ImportedPairs:
    """Import the pairs of a zip in any layout of `engine.labelling.pair_exchange`, named after the file.

    Raises ConfigError for a file that is not a zip, entries outside its folder, more than 50 GiB unpacked or than is
    free, or when no pair is usable.
    """
    folder = temp_path(store.workspace, "import")
    try:
        _unpack(file, folder)
        return import_pairs(store, _content_folder(folder), free_name(store.workspace, file.stem))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_name(workspace: Workspace, stem: str) -> str:
    """Return the stem, with a number appended if pairs of that name exist."""
    name, number = stem, 1
    while pairs_file(workspace, name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            outside = [name for name in names if ".." in Path(name).parts or name[:1] in "/\\"]
            if outside:
                raise ConfigError(f"{file.name} has a file {outside[0][:80]!r} outside its folder.")
            if (size := sum(entry.file_size for entry in entries)) > UNPACKED_LIMIT:
                raise ConfigError(f"{file.name} unpacks to {size / 1024**3:.0f} GiB: unpack it, and import the folder.")
            if size > (free := shutil.disk_usage(folder.parent).free):
                raise ConfigError(f"{file.name} unpacks to {size:,} bytes, but {free:,} are free: free some space.")
            archive.extractall(folder)
    except UNREADABLE_ZIP as error:
        raise ConfigError(f"{file.name} cannot be read as a zip: {error}.") from error
    except OSError as error:
        raise StoreError(f"{file.name} cannot be unpacked: {error.strerror or error}.") from error


def _content_folder(folder: Path) -> Path:
    """Descend through folders that contain only one folder."""
    while len(items := list(folder.iterdir())) == 1 and items[0].is_dir():
        folder = items[0]
    return folder
