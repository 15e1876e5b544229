"""Manifests: sizes and hashes of a folder's files, to detect torn, changed or missing files.

manifest.json    {"files": {"optimizer.pt": {"bytes": 1234, "sha256": "..."}, ...}}, written after all other files

A folder of an older version has no manifest and is checked by its file formats: JSON must parse, the archives of
`torch.save` have a checksum for each entry, and the header of a safetensors file gives its length. Imports no torch.
"""

import hashlib
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from rewards.models import FrozenModel

MANIFEST = "manifest.json"
PIECE_BYTES = 2**20
UNREADABLE_ZIP = (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, lzma.LZMAError, zlib.error)
"""What zipfile raises for an archive that is damaged, encrypted or of an unknown compression."""
HEADER_BYTES = 8
"""Size of the length field at the start of a safetensors file: the header's length, little-endian."""


class FileFacts(FrozenModel):
    """Size and hash of one file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(FrozenModel):
    """The files of a folder by their relative paths, with `/` between folders."""

    files: dict[str, FileFacts] = Field(min_length=1)


def write_manifest(folder: Path) -> None:
    """Record every file of the folder. Call it after all other files are written."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {path.relative_to(folder).as_posix(): _facts(path) for path in _files(folder)}
    (folder / MANIFEST).write_text(Manifest(files=files).model_dump_json(indent=1) + "\n", encoding="utf-8")


def has_all_files(folder: Path) -> bool:
    """Return True when the manifest is readable and each of its files exists with its size.

    Reads no file's content. True for a folder without a manifest.
    """
    try:
        manifest = _read(folder)
    except ValueError:
        return False
    return manifest is None or all(_size(folder / name) == facts.bytes for name, facts in manifest.files.items())


def find_damage(folder: Path, names: Sequence[str] | None = None) -> str | None:
    """Return the first damage as a clause such as "optimizer.pt is missing".

    None when all files are whole.

    Reads every file, or only the existing files among `names`.
    """
    try:
        manifest = _read(folder)
    except ValueError:
        return f"{MANIFEST} is damaged"
    problems = _mismatches(folder, manifest, names) if manifest is not None else _malformed(folder, names)
    return next(problems, None)


def _read(folder: Path) -> Manifest | None:
    """Return the folder's manifest; None when it has none.

    Raises ValueError when the manifest cannot be read.
    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(str(error)) from error


def _mismatches(folder: Path, manifest: Manifest, names: Sequence[str] | None) -> Iterator[str]:
    for name, recorded in manifest.files.items():
        if names is not None and name not in names:
            continue
        size = _size(folder / name)
        if size is None:
            yield f"{name} is missing"
        elif size != recorded.bytes:
            yield f"{name} has {size:,} of {recorded.bytes:,} bytes"
        elif _facts(folder / name) != recorded:
            yield f"{name} is not as it was written"


def _malformed(folder: Path, names: Sequence[str] | None) -> Iterator[str]:
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if (names is None or name in names) and not CHECKS.get(path.suffix, _is_not_empty)(path):
            yield f"{name} is damaged"


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _is_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except UNREADABLE_ZIP:
        return False


def _is_safetensors(path: Path) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_BYTES), "little")
        if size < HEADER_BYTES or length > size - HEADER_BYTES:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return False
    return bool(size == HEADER_BYTES + length + max(ends, default=0))


def _is_not_empty(path: Path) -> bool:
    return path.stat().st_size > 0


CHECKS = {
    ".json": _is_json,
    ".pt": _is_archive,
    ".pth": _is_archive,
    ".bin": _is_archive,
    ".safetensors": _is_safetensors,
}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _size(path: Path) -> int | None:
    """Return the file's size in bytes; None when it does not exist."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _facts(path: Path) -> FileFacts:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return FileFacts(bytes=size, sha256=digest.hexdigest())
