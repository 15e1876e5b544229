"""Pairs that come as one zip file, as the page and other installations give them."""

import shutil
import zipfile
from pathlib import Path

from engine.errors import ConfigError, StoreError
from engine.labelling.pair_exchange import ImportedPairs, import_pairs, pairs_file
from engine.storage.library import Library
from engine.storage.temp_folders import temp_path
from engine.workspace import Workspace

UNPACKED_LIMIT = 50 * 1024**3  # bytes


def import_archive(store: Library, file: Path) -> ImportedPairs:
    """Bring in the pairs of a zip of any layout of `engine.labelling.pair_exchange`, named like the file.

    Raises ConfigError: no zip, one that would not stay in its folder or unpacks to more than 50 GiB, no usable pair.
    """
    folder = temp_path(store.workspace, "import")
    try:
        _unpack(file, folder)
        return import_pairs(store, _inmost(folder), free_name(store.workspace, file.stem))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_name(workspace: Workspace, stem: str) -> str:
    """The stem, or with a number where there are pairs of that name already."""
    name, number = stem, 1
    while pairs_file(workspace, name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def _unpack(file: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            outside = [one.filename for one in entries if ".." in Path(one.filename).parts or one.filename[:1] in "/\\"]
            if outside:
                raise ConfigError(f"{file.name} has a file {outside[0][:80]!r} that does not lie in its folder.")
            if (size := sum(one.file_size for one in entries)) > UNPACKED_LIMIT:
                raise ConfigError(f"{file.name} unpacks to {size / 1024**3:.0f} GiB: unpack it, and import the folder.")
            archive.extractall(folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(f"{file.name} cannot be read as a zip: {error}.") from error
    except OSError as error:
        raise StoreError(f"{file.name} cannot be unpacked: {error.strerror or error}.") from error


def _inmost(folder: Path) -> Path:
    """Below folders that hold a single folder and nothing else."""
    while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
        folder = inside[0]
    return folder
