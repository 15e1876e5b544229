"""Files of clips and runs, and permalinks of clips, over HTTP, with ranges and ETags."""

import re
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from app.context import AppContext
from app.text import general
from app.views.clips import FRAMES, MP4, POSTER, overlays
from engine.errors import ConfigError, StoreError
from engine.runs.run import Run
from engine.runs.samples import RunSamples

TYPES = {MP4: "video/mp4", POSTER: "image/jpeg", FRAMES: "video/x-matroska"}
SUFFIX_TYPES = {".mp4": "video/mp4", ".png": "image/png"}
PICTURE_NAME = re.compile(r"[0-9a-f]{64}")
# A clip's id determines its frames, so a cached file is always valid.
CACHED = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
# Samples of a run can be generated again for the same step, so the browser must ask whether its copy is the newest.
ASKED = {**CACHED, "Cache-Control": "private, no-cache"}


def media_routes(context: AppContext) -> APIRouter:
    """Return the routes of clips, overlays, previews, samples, pictures and permalinks."""
    router = APIRouter(include_in_schema=False)

    @router.get("/media/clips/{clip_id}/{name}")
    def media(clip_id: str, name: str, request: Request) -> Response:
        return serve(clip_file(context, clip_id, name), request)

    @router.get("/media/clips/{clip_id}/overlays/{name}")
    def overlay(clip_id: str, name: str, request: Request) -> Response:
        return serve(overlay_file(context, clip_id, name), request)

    @router.get("/media/jobs/{job_id}/preview")
    def preview(job_id: str) -> Response:
        return job_preview(context, job_id)

    @router.get("/media/runs/{run_id}/{name}/{sample}")
    def run_sample(run_id: str, name: str, sample: str, request: Request) -> Response:
        return serve(sample_file(context, run_id, name, sample), request, ASKED)

    @router.get("/media/pictures/{name}.png")
    def picture(name: str, request: Request) -> Response:
        return serve(picture_file(context, name), request)

    @router.get("/clip/{clip_id}")
    def permalink(clip_id: str) -> Response:
        """Open this clip in the Library; 404 with a message if it does not exist."""
        try:
            context.store.clip(context.workspace.clip_folder(clip_id).name)
        except StoreError:
            return HTMLResponse(
                f"<!doctype html><title>{general.TITLE}</title><p>{general.PAGE_GONE}</p>", status_code=404
            )
        return RedirectResponse(f"/?clip={clip_id}", status_code=307)

    return router


def clip_file(context: AppContext, clip_id: str, name: str) -> Path:
    """Return the path of a clip's file. Raises HTTP 404 for any other file."""
    try:
        folder = context.workspace.clip_folder(clip_id)
    except StoreError as error:
        raise HTTPException(404) from error
    path = folder / name
    if name not in TYPES or not path.is_file():
        raise HTTPException(404)
    return path


def blind_clip(context: AppContext, clip_id: str) -> Response:
    """Return a clip for blind judgement.

    No date, ETag or file name reveals its creation time or identity. Raises HTTP 404.
    """
    path = clip_file(context, clip_id, MP4)
    try:
        content = path.read_bytes()  # whole, as the player fetches it: ranges would need an ETag or a date
    except OSError as error:
        raise HTTPException(404) from error
    return Response(content, media_type=TYPES[MP4], headers=CACHED)


def overlay_file(context: AppContext, clip_id: str, name: str) -> Path:
    """Return the path of an overlay of a clip. Raises HTTP 404."""
    files = {path.name: path for path in overlays(context.workspace, clip_id).values()}
    if name not in files:
        raise HTTPException(404)
    return files[name]


def job_preview(context: AppContext, job_id: str) -> Response:
    """Return the preview of a running job, or 204 if it has none, such as after its end."""
    try:
        return Response(context.workspace.job_preview(job_id).read_bytes(), media_type=TYPES[POSTER], headers=CACHED)
    except StoreError as error:
        raise HTTPException(404) from error
    except OSError:
        return Response(status_code=204)


def sample_file(context: AppContext, run_id: str, name: str, sample: str) -> Path:
    """Return the path of a clip of a run's set of samples. Raises HTTP 404."""
    try:
        path = RunSamples(Run.find(context.workspace, run_id)).file(name, sample)
    except ConfigError as error:
        raise HTTPException(404) from error
    if path is None:
        raise HTTPException(404)
    return path


def picture_file(context: AppContext, name: str) -> Path:
    """Return the path of a stored picture, such as a keyframe. Raises HTTP 404."""
    path = context.workspace.pictures / f"{name}.png"
    if not PICTURE_NAME.fullmatch(name) or not path.is_file():
        raise HTTPException(404)
    return path


def serve(path: Path, request: Request, headers: dict[str, str] = CACHED) -> Response:
    """Return the file, its requested range (by FileResponse), or 304 if the browser has it."""
    stat = path.stat()
    kind = TYPES.get(path.name) or SUFFIX_TYPES[path.suffix]
    response = FileResponse(path, media_type=kind, headers=headers, stat_result=stat)
    if request.headers.get("if-none-match") == response.headers["etag"]:
        return Response(status_code=304, headers={**headers, "ETag": response.headers["etag"]})
    if path.name == FRAMES:
        response.headers["Content-Disposition"] = f'attachment; filename="{path.parent.name}.mkv"'
    return response
