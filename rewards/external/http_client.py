"""Client of a reward server: `POST url` with clips as JSON, answered with one result for each.

Request     {"protocol": 1, "names": [...], "clips": [{"prompt": str, "fps": float, "num_frames": int,
            "frames": [base64, ...], "indices": [int, ...], "picture": "png" | "jpeg"}]}
            A clip whose frames are all sent may have "seams": [int, ...], the frames at which windows meet.
Answer      {"model": str, "version": str, "results": [{"scores": {name: number | null}, "reason": str}]}

A reward without sub-scores has `"score": number | null` instead of `scores`. A result `{"error": str}` is a clip that
could not be scored. Retries are those of `rewards.external.json_calls`.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rewards.clip import Clip
from rewards.external.clients import ONLY, CallFailed, ClipScores, checked_answer
from rewards.external.clip_json import encode_clip
from rewards.external.declaration import HttpServer
from rewards.external.json_calls import SHOWN_CHARACTERS, JsonCalls

PROTOCOL = 1

log = logging.getLogger(__name__)


class HttpClient:
    """Scores clips by a reward server, several calls at a time."""

    def __init__(self, key: str, server: HttpServer, names: Sequence[str]) -> None:
        self._where = f"The reward server of '{key}'"
        self._server = server
        self._names = tuple(names)
        self._calls = JsonCalls(
            self._where,
            server.url,
            token_env=server.token_env,
            timeout_s=server.timeout_s,
            attempts=server.attempts,
            backoff_s=server.backoff_s,
        )
        self._threads = ThreadPoolExecutor(server.concurrency, thread_name_prefix=f"reward-{key}")
        self._identity = ""

    @property
    def identity(self) -> str:
        return self._identity or self._calls.host

    def score(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Return an answer for each clip; the calls run at the same time, each with `batch` clips."""
        size = self._server.batch
        parts = [clips[start : start + size] for start in range(0, len(clips), size)]
        return [answer for answers in self._threads.map(self._score_part, parts) for answer in answers]

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._calls.close()

    def _score_part(self, clips: Sequence[Clip]) -> list[ClipScores]:
        try:
            body = {
                "protocol": PROTOCOL,
                "names": [name for name in self._names if name != ONLY],
                "clips": [encode_clip(clip, self._server.frames, self._server.picture) for clip in clips],
            }
            return self._answers(self._calls.post(body), len(clips))
        except CallFailed as error:
            log.warning("%s", error)
            return [ClipScores(error=str(error))] * len(clips)

    def _answers(self, body: Any, count: int) -> list[ClipScores]:
        results = body.get("results") if isinstance(body, dict) else None
        if not isinstance(results, list):
            raise CallFailed(f"{self._where} answered JSON without a list `results`.")
        if len(results) != count:
            raise CallFailed(f"{self._where} answered {len(results)} results for {count} clips.")
        self._identity = " ".join(str(body[name])[:SHOWN_CHARACTERS] for name in ("model", "version") if body.get(name))
        return [self._answer(result) for result in results]

    def _answer(self, result: Any) -> ClipScores:
        if isinstance(result, dict) and result.get("error"):
            return ClipScores(error=f"{self._where} could not score the clip: {str(result['error'])[:500]}")
        if not isinstance(result, dict) or not ("score" in result or "scores" in result):
            return ClipScores(error=f"{self._where} answered a result without `score` or `scores`.")
        reason = str(result.get("reason") or "")[:500]
        return checked_answer(result.get("scores", result.get("score")), self._names, self._where, reason)
