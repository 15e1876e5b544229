"""The samples of runs over HTTP, beside the clips of `app.api.media` and under the same login."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, Response

from app.context import AppContext
from engine.errors import ConfigError
from engine.runs.run import Run
from engine.runs.samples import RunSamples

# A set can be made once more for the same step: the browser asks whether its copy is still the one.
HEADERS = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}


def run_routes(desk: AppContext, dependencies: Sequence[Any] = ()) -> APIRouter:
    """`/media/runs/<run>/<set>/<clip>`; `dependencies` are FastAPI's `Depends(...)`, e.g. for a login."""
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)

    @router.get("/media/runs/{run_id}/{name}/{sample}")
    def media(run_id: str, name: str, sample: str, request: Request) -> Response:
        try:
            file = RunSamples(Run.find(desk.workspace, run_id)).file(name, sample)
        except ConfigError as error:
            raise HTTPException(404) from error
        if file is None:
            raise HTTPException(404)
        response = FileResponse(file, media_type="video/mp4", headers=HEADERS, stat_result=file.stat())
        if request.headers.get("if-none-match") == response.headers["etag"]:
            return Response(status_code=304, headers={**HEADERS, "ETag": response.headers["etag"]})
        return response

    return router
