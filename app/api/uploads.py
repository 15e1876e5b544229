"""Uploaded files: their storage, their owners, and the route that receives them.

Each request gets a folder `<owner>-<random>` among the uploads; `owner` is derived from the user's name. A file is used
or served only for the user who sent it. Without a login all visitors are one user.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gradio.route_utils import GradioMultiPartParser, GradioUploadFile
from gradio.routes import file_upload_statuses
from gradio.utils import get_upload_folder
from gradio_client.utils import strip_invalid_filename_characters  # type: ignore[import-untyped]
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app.auth.login import user_of
from app.middleware.body_limits import KIB, declared, problem
from app.text import access

MAX_FILES, MAX_FIELDS, FIELD_LIMIT = 1000, 10, 64 * KIB
AT_ONCE = 8  # uploads under way
ID_LIMIT = 64  # characters of the id under which the browser asks for the progress
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def owner_of(scope: Any) -> str:
    """Return the prefix of a user's upload folders."""
    user = user_of(scope)
    return hashlib.sha256((user.name if user else "").encode()).hexdigest()[:16]


def upload_root() -> Path:
    return Path(get_upload_folder()).resolve()


def upload_problem(path: Any, owner: str) -> str:
    """Return why a path is not an upload of this owner; "" if it is."""
    root = upload_root()
    if not isinstance(path, str) or "\0" in path or os.path.normpath(path) != path or len(path) > 4096:
        return access.NOT_UPLOADED
    place = Path(path)
    if not place.is_absolute() or not place.is_relative_to(root) or place == root:
        return access.NOT_UPLOADED
    if not place.relative_to(root).parts[0].startswith(f"{owner}-"):
        return access.NOT_UPLOADED
    try:
        is_file = stat.S_ISREG(os.lstat(place).st_mode) and place.resolve() == place
    except (OSError, ValueError):
        is_file = False
    return "" if is_file else access.UPLOAD_GONE


class UploadParser(GradioMultiPartParser):
    """Gradio's streaming parser, with a limit on other fields than files, which are kept in memory."""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            if len(self._current_part.data) + end - start > FIELD_LIMIT:
                raise MultiPartException("A field of the form exceeded maximum allowed size.")
            self._current_part.data += data[start:end]
        else:
            super().on_part_data(data, start, end)


class Uploads:
    """The route `POST /gradio_api/upload`; `max_file_size` in bytes."""

    def __init__(self, max_file_size: int) -> None:
        self.max_file_size = max_file_size
        self._under_way = 0

    async def take(self, request: Request) -> Response:
        """Store the files and return their paths, as Gradio's own route does. A refused upload leaves no file."""
        if self._under_way >= AT_ONCE:
            busy = problem(access.UPLOADS_BUSY, 503)
            busy.headers["Retry-After"] = "5"
            return busy
        self._under_way += 1
        try:
            return await self._take(request)
        finally:
            self._under_way -= 1

    async def _take(self, request: Request) -> Response:
        upload_id = request.query_params.get("upload_id", "")[:ID_LIMIT]
        try:
            async with new_folder(owner_of(request.scope), declared(request.scope)) as folder:
                return JSONResponse(await self._stored(request, folder, upload_id))
        except MultiPartException as error:
            too_large = "exceeded maximum" in error.message
            return problem(error.message, 413 if too_large else 400)
        except OSError as error:
            if error.errno in FULL:
                return problem(access.NO_SPACE, 507)
            return problem(access.UPLOAD_FAILED.format(why=error.strerror or error), 500)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            if upload_id:
                file_upload_statuses.set_done(upload_id)

    async def _stored(self, request: Request, folder: Path, upload_id: str) -> list[str]:
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise MultiPartException("An upload is a multipart/form-data request.")
        if upload_id:
            file_upload_statuses.track(upload_id)
        parser = UploadParser(
            request.headers,
            request.stream(),
            max_files=MAX_FILES,
            max_fields=MAX_FIELDS,
            max_file_size=self.max_file_size,
            upload_dir=folder,
            upload_id=upload_id or None,
            upload_progress=file_upload_statuses if upload_id else None,
        )
        form = await parser.parse()
        files = [file for file in form.getlist("files") if isinstance(file, GradioUploadFile)]
        return await run_in_threadpool(settle, folder, files)


def settle(folder: Path, files: list[GradioUploadFile]) -> list[str]:
    """Move each file to its own folder under its name, and remove other parts of the request."""
    paths = []
    for number, file in enumerate(files):
        file.file.close()
        name = strip_invalid_filename_characters(Path(file.filename or "").name).strip(". ") or "upload"
        place = folder / str(number) / name
        place.parent.mkdir()
        os.rename(file.file.name, place)
        paths.append(str(place))
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    return paths


@asynccontextmanager
async def new_folder(owner: str, expected: int) -> AsyncIterator[Path]:
    """Create a folder for one request, removed on failure.

    Raises OSError if the disk has less than `expected` bytes free.
    """
    folder = upload_root() / f"{owner}-{secrets.token_hex(8)}"
    folder.mkdir(parents=True, mode=0o700)
    whole = False
    try:
        if shutil.disk_usage(folder).free < expected:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield folder
        whole = True
    finally:
        if not whole:
            shutil.rmtree(folder, ignore_errors=True)
