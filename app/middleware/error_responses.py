"""Error answers that repeat nothing of the request.

FastAPI's own answer to an invalid body repeats the body, however large it is.
"""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from app.middleware.security_headers import CLOSED, SAFE
from app.text import access


def silent(server: FastAPI) -> None:
    """Install these error answers in an application."""
    server.add_exception_handler(RequestValidationError, unusable)
    server.add_exception_handler(Exception, failed)


def unusable(request: Request, error: Exception) -> Response:
    return JSONResponse({"problem": access.BAD_REQUEST, "detail": access.BAD_REQUEST}, 422)


def failed(request: Request, error: Exception) -> Response:
    """Answer an unexpected error; the server logs the traceback.

    This answer does not pass through the middleware that sets headers.
    """
    headers = {**SAFE, "Content-Security-Policy": CLOSED}
    return JSONResponse({"problem": access.FAILED}, 500, headers=headers)
