"""Clips' files and permalinks over HTTP, with ranges and ETags.

These routes stand beside Gradio, whose own login would not cover them: whoever mounts them passes the dependencies
(who may look) that hold for the whole page.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from app.context import AppContext
from app.text import general
from app.views.clips import FRAMES, MP4, POSTER, overlays
from engine.errors import StoreError

TYPES = {MP4: "video/mp4", POSTER: "image/jpeg", FRAMES: "video/x-matroska"}
SUFFIX_TYPES = {".mp4": "video/mp4", ".png": "image/png"}
PICTURE_NAME = re.compile(r"[0-9a-f]{64}")
# A clip's id determines its frames; the browser asks again only to learn that nothing changed.
CACHED = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


def media_routes(desk: AppContext, dependencies: Sequence[Any] = ()) -> APIRouter:
    """`/media/clips/<id>/<file>` and `/clip/<id>`; `dependencies` are FastAPI's `Depends(...)`, e.g. for a login."""
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)

    @router.get("/media/clips/{clip_id}/{name}")
    def media(clip_id: str, name: str, request: Request) -> Response:
        return serve(clip_file(desk, clip_id, name), request)

    @router.get("/media/clips/{clip_id}/overlays/{name}")
    def overlay(clip_id: str, name: str, request: Request) -> Response:
        return serve(overlay_file(desk, clip_id, name), request)

    @router.get("/media/pictures/{name}.png")
    def picture(name: str, request: Request) -> Response:
        return serve(picture_file(desk, name), request)

    @router.get("/clip/{clip_id}")
    def permalink(clip_id: str) -> Response:
        """The Library with this clip open; a page of its own says so when there is none."""
        try:
            desk.store.clip(desk.workspace.clip_folder(clip_id).name)
        except StoreError:
            return HTMLResponse(
                f"<!doctype html><title>{general.TITLE}</title><p>{general.PAGE_GONE}</p>", status_code=404
            )
        return RedirectResponse(f"/?clip={clip_id}", status_code=307)

    return router


def clip_file(desk: AppContext, clip_id: str, name: str) -> Path:
    """A file of a clip; nothing else of the workspace, nor of the disk, has an address. Raises HTTP 404."""
    try:
        folder = desk.workspace.clip_folder(clip_id)
    except StoreError as error:
        raise HTTPException(404) from error
    path = folder / name
    if name not in TYPES or not path.is_file():
        raise HTTPException(404)
    return path


def blind_clip(desk: AppContext, clip_id: str) -> Response:
    """A clip for somebody who is to judge it without knowing where it comes from.

    No date, ETag or name of a file tells when it was made or which clip it is. Raises HTTP 404.
    """
    path = clip_file(desk, clip_id, MP4)
    try:
        content = path.read_bytes()  # whole, as the player fetches it: a range would need something to be known by
    except OSError as error:
        raise HTTPException(404) from error
    return Response(content, media_type=TYPES[MP4], headers=CACHED)


def overlay_file(desk: AppContext, clip_id: str, name: str) -> Path:
    """A picture of what a reward saw in a clip. Raises HTTP 404."""
    found = {path.name: path for path in overlays(desk.workspace, clip_id).values()}
    if name not in found:
        raise HTTPException(404)
    return found[name]


def picture_file(desk: AppContext, name: str) -> Path:
    """A kept picture, such as a keyframe. Raises HTTP 404."""
    path = desk.workspace.pictures / f"{name}.png"
    if not PICTURE_NAME.fullmatch(name) or not path.is_file():
        raise HTTPException(404)
    return path


def serve(path: Path, request: Request) -> Response:
    """The file, the range of it that was asked for (FileResponse does that), or 304 when the browser has it."""
    stat = path.stat()
    kind = TYPES.get(path.name) or SUFFIX_TYPES[path.suffix]
    response = FileResponse(path, media_type=kind, headers=CACHED, stat_result=stat)
    if request.headers.get("if-none-match") == response.headers["etag"]:
        return Response(status_code=304, headers={**CACHED, "ETag": response.headers["etag"]})
    if path.name == FRAMES:
        response.headers["Content-Disposition"] = f'attachment; filename="{path.parent.name}.mkv"'
    return response
