"""Calls of a server that takes and answers JSON.

They have retries with back-off, time-outs, and messages without secrets. Retried are failures that may pass: no
connection, a time-out, status 408, 429 and 5xx, after the seconds of "Retry-After" if it is given. Another status, or
an answer that cannot be read, fails at once.
"""

import json
import logging
import os
import time
from typing import Any

import httpx

from rewards.external.clients import CallFailed

MAX_ANSWER_BYTES = 16 * 2**20
SHOWN_CHARACTERS = 120
HIDDEN = "***"


logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every call otherwise


class JsonCalls:
    """Posts JSON to one address; `where` names the server in messages. Safe to use from several threads.

    The token is read from the environment variable `token_env` at each call. It is removed from everything that the
    server answers, because a server may repeat it in an error message.
    """

    def __init__(
        self, where: str, url: str, *, token_env: str | None, timeout_s: float, attempts: int, backoff_s: float
    ) -> None:
        self._where, self._url, self._token_env = where, url, token_env
        self._timeout_s, self._attempts, self._backoff_s = timeout_s, attempts, backoff_s
        self._http = httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False)

    @property
    def host(self) -> str:
        return httpx.URL(self._url).host

    def post(self, body: Any) -> Any:
        """Return the answer of a call. Raises CallFailed after the last attempt."""
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        for attempt in range(1, self._attempts + 1):
            problem, may_pass, wait_s = "", True, self._backoff_s * 2 ** (attempt - 1)
            try:
                status, content, asked_s = self._request(body, headers)
                wait_s = max(wait_s, min(asked_s, self._timeout_s))
                if status == httpx.codes.OK:
                    return self._parsed(content, token)
                problem = f"answered with status {status}{_detail(content, token)}"
                may_pass = status in (408, 429) or status >= 500
            except httpx.TimeoutException:
                problem = f"gave no answer within {self._timeout_s:g} s"
            except httpx.DecodingError:
                problem, may_pass = "answered with content that cannot be decompressed", False
            except httpx.RequestError as error:
                problem = f"at {self._url} cannot be reached ({type(error).__name__})"
            if not may_pass:
                raise CallFailed(f"{self._where} {problem}.")
            if attempt < self._attempts:
                time.sleep(wait_s)
        raise CallFailed(f"{self._where} {problem}, in {self._attempts} attempts.")

    def close(self) -> None:
        self._http.close()

    def _token(self) -> str:
        if self._token_env is None:
            return ""
        token = os.environ.get(self._token_env, "")
        if not token:
            raise CallFailed(f"{self._where} needs a token: set the environment variable {self._token_env}.")
        if not token.isascii() or not token.isprintable():
            raise CallFailed(f"The token in {self._token_env} has characters that a header cannot have: set it again.")
        return token

    def _request(self, body: Any, headers: dict[str, str]) -> tuple[int, bytes, float]:
        """Return status, content, and the seconds to wait that the server asks for, 0 for none.

        The time limit is for the whole answer, also of a server that sends it slowly.
        """
        deadline = time.monotonic() + self._timeout_s
        with self._http.stream("POST", self._url, json=body, headers=headers) as response:
            content = b""
            for part in response.iter_bytes():
                content += part
                if len(content) > MAX_ANSWER_BYTES:
                    raise CallFailed(f"{self._where} answered with more than {MAX_ANSWER_BYTES} bytes.")
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer takes too long")
            asked = response.headers.get("Retry-After", "")
            return response.status_code, content, float(asked) if asked.isdecimal() else 0.0

    def _parsed(self, content: bytes, token: str) -> Any:
        try:
            return _hidden(json.loads(content), token)
        except (ValueError, RecursionError) as error:
            raise CallFailed(
                f"{self._where} answered with {_text(content, token)[:60]!r}, which is not JSON."
            ) from error


def _hidden(value: Any, token: str) -> Any:
    """Return a JSON value without the token in any text."""
    if not token:
        return value
    if isinstance(value, str):
        return value.replace(token, HIDDEN)
    if isinstance(value, list):
        return [_hidden(item, token) for item in value]
    if isinstance(value, dict):
        return {_hidden(name, token): _hidden(item, token) for name, item in value.items()}
    return value


def _text(content: bytes, token: str) -> str:
    return str(_hidden(content.decode("utf8", errors="replace"), token))


def _detail(content: bytes, token: str) -> str:
    text = " ".join(_text(content, token).split())[:SHOWN_CHARACTERS]
    return f" ({text})" if text else ""
