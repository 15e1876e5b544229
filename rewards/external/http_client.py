"""Client of a reward server: `POST url` with clips as JSON, answered with one result for each.

Request     {"protocol": 1, "names": [...], "clips": [{"prompt": str, "fps": float, "num_frames": int,
            "frames": [base64, ...], "indices": [int, ...], "picture": "png" | "jpeg"}]}
Answer      {"model": str, "version": str, "results": [{"scores": {name: number | null}, "reason": str}]}

A reward without sub-scores has `"score": number | null` instead of `scores`. Retried are failures that may pass: no
connection, a time-out, status 408, 429 and 5xx. Another status, or an answer that does not fit, fails at once.
"""

import base64
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import httpx
import numpy as np

from rewards.clip import Clip
from rewards.external.clients import ONLY, CallFailed, ClipScores, checked_answer
from rewards.external.declaration import HttpServer

PROTOCOL = 1
JPEG_QUALITY = 95
SHOWN_CHARACTERS = 120
MAX_ANSWER_BYTES = 16 * 2**20

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every call otherwise


class HttpClient:
    """Scores clips by a reward server, several calls at a time."""

    def __init__(self, key: str, server: HttpServer, names: Sequence[str]) -> None:
        self._where = f"The reward server of '{key}'"
        self._server = server
        self._names = tuple(names)
        self._http = httpx.Client(timeout=server.timeout_s, follow_redirects=False, trust_env=False)
        self._threads = ThreadPoolExecutor(server.concurrency, thread_name_prefix=f"reward-{key}")
        self._identity = ""

    @property
    def identity(self) -> str:
        return self._identity or httpx.URL(self._server.url).host

    def score(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Return an answer for each clip; the calls run at the same time, each with `batch` clips."""
        size = self._server.batch
        parts = [clips[start : start + size] for start in range(0, len(clips), size)]
        return [answer for answers in self._threads.map(self._score_part, parts) for answer in answers]

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def _score_part(self, clips: Sequence[Clip]) -> list[ClipScores]:
        try:
            body = {
                "protocol": PROTOCOL,
                "names": [name for name in self._names if name != ONLY],
                "clips": [encode_clip(clip, self._server.frames, self._server.picture) for clip in clips],
            }
            return self._answers(self._call(body), len(clips))
        except CallFailed as error:
            log.warning("%s", error)
            return [ClipScores(error=str(error))] * len(clips)

    def _call(self, body: dict[str, Any]) -> Any:
        headers = self._headers()
        for attempt in range(1, self._server.attempts + 1):
            problem, may_pass = "", True
            try:
                response = self._http.post(self._server.url, json=body, headers=headers)
                if response.status_code == httpx.codes.OK:
                    return self._json(response)
                problem = f"answered with status {response.status_code}{_detail(response)}"
                may_pass = response.status_code in (408, 429) or response.status_code >= 500
            except httpx.TimeoutException:
                problem = f"gave no answer within {self._server.timeout_s:g} s"
            except httpx.TransportError as error:
                problem = f"at {self._server.url} cannot be reached ({type(error).__name__})"
            if not may_pass:
                raise CallFailed(f"{self._where} {problem}.")
            if attempt < self._server.attempts:
                time.sleep(self._server.backoff_s * 2 ** (attempt - 1))
        raise CallFailed(f"{self._where} {problem}, in {self._server.attempts} attempts.")

    def _headers(self) -> dict[str, str]:
        if self._server.token_env is None:
            return {}
        token = os.environ.get(self._server.token_env)
        if not token:
            raise CallFailed(f"{self._where} needs a token: set the environment variable {self._server.token_env}.")
        return {"Authorization": f"Bearer {token}"}

    def _json(self, response: httpx.Response) -> Any:
        if len(response.content) > MAX_ANSWER_BYTES:
            raise CallFailed(
                f"{self._where} answered with {len(response.content)} bytes, more than {MAX_ANSWER_BYTES}."
            )
        try:
            return response.json()
        except ValueError as error:
            raise CallFailed(f"{self._where} answered with {response.text[:60]!r}, which is not JSON.") from error

    def _answers(self, body: Any, count: int) -> list[ClipScores]:
        results = body.get("results") if isinstance(body, dict) else None
        if not isinstance(results, list):
            raise CallFailed(f"{self._where} answered JSON without a list `results`.")
        if len(results) != count:
            raise CallFailed(f"{self._where} answered {len(results)} results for {count} clips.")
        self._identity = " ".join(str(body[name])[:SHOWN_CHARACTERS] for name in ("model", "version") if body.get(name))
        return [self._answer(result) for result in results]

    def _answer(self, result: Any) -> ClipScores:
        if not isinstance(result, dict) or not ("score" in result or "scores" in result):
            return ClipScores(error=f"{self._where} answered a result without `score` or `scores`.")
        reason = str(result.get("reason") or "")[:500]
        return checked_answer(result.get("scores", result.get("score")), self._names, self._where, reason)


def encode_clip(clip: Clip, frames: int | None = None, picture: str = "png") -> dict[str, Any]:
    """Return a clip as JSON-safe data with `frames` evenly spaced frames (None: all)."""
    count = clip.num_frames if frames is None else min(frames, clip.num_frames)
    indices = np.rint(np.linspace(0, clip.num_frames - 1, count)).astype(int)
    return {
        "prompt": clip.prompt,
        "fps": float(clip.fps),
        "num_frames": clip.num_frames,
        "picture": picture,
        "indices": indices.tolist(),
        "frames": [_encode(clip.frames[index], picture) for index in indices],
    }


def decode_frames(encoded: Sequence[str]) -> np.ndarray:
    """Return the frames `uint8[N,H,W,3]` of `encode_clip`. Raises ValueError for what is no picture."""
    frames = []
    for text in encoded:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(text, validate=True), np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError("a frame is no png or jpeg picture")
        frames.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def _encode(frame: np.ndarray, picture: str) -> str:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if picture == "jpeg" else []
    done, data = cv2.imencode(
        f".{'jpg' if picture == 'jpeg' else 'png'}", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options
    )
    if not done:
        raise CallFailed(f"A frame of {frame.shape[1]}x{frame.shape[0]} could not be encoded as {picture}.")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _detail(response: httpx.Response) -> str:
    text = " ".join(response.text.split())[:SHOWN_CHARACTERS]
    return f" ({text})" if text else ""
