"""Answers to requests that cannot be used: a sentence, and nothing of what was sent.

FastAPI's own answer to a body of the wrong form repeats the body, whatever its size.
"""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from app.middleware.security_headers import CLOSED, SAFE
from app.text import access


def silent(server: FastAPI) -> None:
    """Give an application these answers."""
    server.add_exception_handler(RequestValidationError, unusable)
    server.add_exception_handler(Exception, failed)


def unusable(request: Request, error: Exception) -> Response:
    return JSONResponse({"problem": access.BAD_REQUEST, "detail": access.BAD_REQUEST}, 422)


def failed(request: Request, error: Exception) -> Response:
    """The server writes the traceback to its log. This answer passes by the middleware that sets headers."""
    headers = {**SAFE, "Content-Security-Policy": CLOSED}
    return JSONResponse({"problem": access.FAILED}, 500, headers=headers)
