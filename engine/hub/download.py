"""Downloads from the hub that resume, are verified, and can be cancelled.

The hub's client starts an interrupted file again from its first byte. Here a partial file is kept, continued by the
client's own transfer, and compared with the size and checksum of the hub's listing before it enters the client's cache.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import HubError
from engine.files.atomic import write_text_atomic
from engine.files.locks import locked
from engine.hub.listing import HubFile, HubListing, hub_errors, list_files
from engine.hub.repository import COMMIT, HubSource
from engine.hub.selection import Needs, select_files

WORKERS = 4  # files at a time
SPARE_B = 64 * 2**20  # free space that must remain on the disk
PARTIAL = ".incomplete"
ATTEMPTS = 2  # a file with a wrong checksum is downloaded once again from its first byte
Progress = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all; an exception that it raises ends the download."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """The needed files of one repository at one commit."""

    listing: HubListing
    files: tuple[HubFile, ...]

    @property
    def size_b(self) -> int:
        return sum(file.size_b for file in self.files)

    @property
    def remaining_b(self) -> int:
        """Bytes that are not in the cache yet."""
        return self.size_b - sum(_present_b(self.listing.source, file) for file in self.files)


def plan_download(source: HubSource, needs: Needs, token: str | None = None) -> DownloadPlan:
    """Ask the hub which files are needed. Indexes of shards are downloaded for it. Raises HubError."""
    listing = list_files(source, token)
    by_path = {file.path: file for file in listing.files}

    def read_index(path: str) -> Mapping[str, object]:
        _fetch(listing, by_path[path], _Meter(0, _ignore), token)
        return dict(json.loads(_link(listing, by_path[path], token).read_text(encoding="utf-8")))

    paths = select_files(by_path, needs, read_index)
    if unlisted := [path for path in (*paths, *needs.files) if path not in by_path]:
        raise HubError(f"'{source.repository}' has no file '{unlisted[0]}': correct the preset's source or revision.")
    return DownloadPlan(listing=listing, files=tuple(by_path[path] for path in paths))


def download(
    plans: "tuple[DownloadPlan, ...]", progress: Progress | None = None, token: str | None = None
) -> list[Path]:
    """Download what is missing of all plans and return their folders in the hub's cache.

    Raises HubError: no room on the disk, no network, no access, or content that differs from the listing twice.
    """
    check_space(plans)
    meter = _Meter(sum(plan.size_b for plan in plans), progress or _ignore)
    jobs = [(plan.listing, file) for plan in plans for file in plan.files]
    with ThreadPoolExecutor(WORKERS, "hub") as threads:
        transfers = [threads.submit(_fetch, listing, file, meter, token) for listing, file in jobs]
        try:
            for transfer in transfers:
                transfer.result()
        finally:  # after an error of one file, the others stop, too
            meter.stop()
            for transfer in transfers:
                transfer.cancel()
    for listing, file in jobs:
        _link(listing, file, token)
    return [_finish(plan) for plan in plans]


def free_b(folder: Path | None = None) -> int:
    """Return the free bytes of the disk that holds a folder, which may not exist; None: the hub's cache."""
    from huggingface_hub import constants

    folder = folder or Path(constants.HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(plans: "tuple[DownloadPlan, ...]") -> None:
    """Raise HubError when the disk has no room for what remains to be downloaded."""
    from huggingface_hub import constants

    needed, free = sum(plan.remaining_b for plan in plans), free_b()
    if needed and needed + SPARE_B > free:
        raise HubError(
            f"{needed / 1e9:.1f} GB remain to be downloaded, but the disk of {constants.HF_HUB_CACHE} has "
            f"{free / 1e9:.1f} GB free: free space, or set HF_HOME to a folder on another disk."
        )


class Stopped(Exception):
    """Another file of the same download failed, it was cancelled, or no more of a file is needed."""


class _Meter:
    """Bytes of all files together; thread-safe. After `stop`, every transfer ends at its next chunk."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress, self._done, self._lock = total, progress, 0, threading.Lock()
        self._is_stopped = False

    def add(self, size_b: int) -> None:
        if self._is_stopped:
            raise Stopped
        with self._lock:
            self._done += size_b
            self._progress(self._done, self._total)

    def stop(self) -> None:
        self._is_stopped = True


def _ignore(done: int, total: int) -> None:
    pass


def _blob(source: HubSource, file: HubFile) -> Path:
    return source.cache_folder / "blobs" / file.digest


def _partial(source: HubSource, file: HubFile) -> Path:
    blob = _blob(source, file)
    return blob.with_name(blob.name + PARTIAL)


def _present_b(source: HubSource, file: HubFile) -> int:
    if _blob(source, file).exists():
        return file.size_b
    try:
        return min(_partial(source, file).stat().st_size, file.size_b)
    except OSError:
        return 0


def _fetch(listing: HubListing, file: HubFile, meter: _Meter, token: str | None) -> None:
    """Download one file, from where it stopped, into the cache; return at once when it is there."""
    source, blob = listing.source, _blob(listing.source, file)
    if blob.exists():
        meter.add(file.size_b)
        return
    with hub_errors(source):
        blob.parent.mkdir(parents=True, exist_ok=True)
        locks = source.cache_folder.parent / ".locks" / source.cache_folder.name
        locks.mkdir(parents=True, exist_ok=True)
        with locked(locks / f"{file.digest}.lock"):  # the file that the hub's client locks, too
            if blob.exists():
                meter.add(file.size_b)
                return
            _fetch_verified(listing, file, meter, token)


def _fetch_verified(listing: HubListing, file: HubFile, meter: _Meter, token: str | None) -> None:
    partial, blob = _partial(listing.source, file), _blob(listing.source, file)
    for _ in range(ATTEMPTS):
        received = _transfer(listing, file, partial, meter, token)
        if digest_of(partial, file.digest) == file.digest:
            os.replace(partial, blob)
            return
        partial.unlink()
        meter.add(-received)
    raise HubError(
        f"'{file.path}' of '{listing.source.repository}' arrived with another checksum than the hub lists "
        f"({file.digest[:12]}...) and was deleted: check the proxy or mirror, and try again."
    )


def _transfer(listing: HubListing, file: HubFile, partial: Path, meter: _Meter, token: str | None) -> int:
    """Continue the partial file to its end by the hub client's transfer; return its size in bytes."""
    with partial.open("r+b" if partial.exists() else "w+b") as stream:
        start = stream.seek(0, os.SEEK_END)
        if start > file.size_b:
            start = stream.seek(0)
            stream.truncate()
        meter.add(start)
        _receive(listing, file, stream, start, meter, token)
        return file.size_b


def _receive(
    listing: HubListing, file: HubFile, stream: BinaryIO, start: int, meter: _Meter, token: str | None
) -> None:
    """Write the bytes of a file from `start` on."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    source, bar = listing.source, _bar(meter)
    url = hf_hub_url(source.repository, file.path, repo_type=source.kind, revision=listing.commit)
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    http_get(url, stream, resume_size=start, headers=headers, expected_size=file.size_b, tqdm_class=bar)


def fetch_head(listing: HubListing, file: HubFile, size_b: int, token: str | None = None) -> bytes:
    """Return the first bytes of a file, at least `size_b` of a longer one. Raises HubError."""
    seen = 0

    def stop_after(done: int, total: int) -> None:  # called before a chunk is written
        nonlocal seen
        if seen >= size_b:
            raise Stopped
        seen = done

    with hub_errors(listing.source), tempfile.TemporaryFile() as stream:
        with suppress(Stopped):
            _receive(listing, file, stream, 0, _Meter(0, stop_after), token)
        stream.seek(0)
        return stream.read()


def fetch_tail(listing: HubListing, file: HubFile, size_b: int, token: str | None = None) -> bytes:
    """Return the last bytes of a file, at most `size_b`, without the others. Raises HubError."""
    with hub_errors(listing.source), tempfile.TemporaryFile() as stream:
        _receive(listing, file, stream, max(file.size_b - size_b, 0), _Meter(0, _ignore), token)
        stream.seek(-min(size_b, stream.seek(0, os.SEEK_END)), os.SEEK_END)
        return stream.read()


def _bar(meter: _Meter) -> Any:
    """Return the progress bar that the hub's client expects, as a class: it only counts bytes."""

    class Bar:
        def __init__(self, *args: Any, **options: Any) -> None:
            pass

        def update(self, size_b: float | None = 1) -> None:
            meter.add(int(size_b or 0))

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            pass

    return Bar


def digest_of(path: Path, like: str, progress: Callable[[int], None] | None = None) -> str:
    """Return the digest of a file, of the kind of `like`: SHA-256, or the git blob id."""
    checksum = hashlib.sha256() if len(like) == 64 else hashlib.sha1(usedforsecurity=False)
    if len(like) != 64:
        checksum.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while chunk := stream.read(2**22):
            checksum.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return checksum.hexdigest()


def _link(listing: HubListing, file: HubFile, token: str | None) -> Path:
    """Give a downloaded file its name in the snapshot of the commit, by the hub's client."""
    from huggingface_hub import hf_hub_download

    source = listing.source
    with hub_errors(source):
        named = hf_hub_download(
            source.repository, file.path, repo_type=source.kind, revision=listing.commit, token=token
        )
    return Path(named)


def _finish(plan: DownloadPlan) -> Path:
    """Record which commit the revision is: from then on the cache has the model."""
    source = plan.listing.source
    if not COMMIT.fullmatch(source.revision):
        with hub_errors(source):
            write_text_atomic(source.cache_folder / "refs" / source.revision, plan.listing.commit)
    return source.cache_folder / "snapshots" / plan.listing.commit
