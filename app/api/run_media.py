"""Samples of runs over HTTP, under the same login as the clips of `app.api.media`."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, Response

from app.context import AppContext
from engine.errors import ConfigError
from engine.runs.run import Run
from engine.runs.samples import RunSamples

# A set can be generated again for the same step, so the browser must revalidate its copy.
HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


def run_routes(context: AppContext, dependencies: Sequence[Any] = ()) -> APIRouter:
    """Return the route `/media/runs/<run>/<set>/<clip>`; `dependencies` are FastAPI's `Depends(...)`."""
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)

    @router.get("/media/runs/{run_id}/{name}/{sample}")
    def media(run_id: str, name: str, sample: str, request: Request) -> Response:
        try:
            file = RunSamples(Run.find(context.workspace, run_id)).file(name, sample)
        except ConfigError as error:
            raise HTTPException(404) from error
        if file is None:
            raise HTTPException(404)
        response = FileResponse(file, media_type="video/mp4", headers=HEADERS, stat_result=file.stat())
        if request.headers.get("if-none-match") == response.headers["etag"]:
            return Response(status_code=304, headers={**HEADERS, "ETag": response.headers["etag"]})
        return response

    return router
