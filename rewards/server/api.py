"""HTTP interface of a reward server: `GET /health`, `GET /rewards`, `POST /score`.

Without a token, requests that a browser sends for another site's page are refused: they have no JSON content type, or
(DNS rebinding) a host name that is not this machine's.
"""

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError

from rewards.clip import Clip
from rewards.errors import RewardError, first_problem
from rewards.external.clip_json import MAX_PIXELS, decode_frames
from rewards.external.http_client import PROTOCOL
from rewards.models import FrozenModel
from rewards.registry import reward_spec
from rewards.server.scoring import BatchScorer, ServedRewards, answer_of

MAX_BODY_BYTES = 512 * 2**20
MAX_CLIPS, MAX_FRAMES = 64, 4096


class Refused(Exception):
    """A request is refused with a status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SentClip(FrozenModel):
    """A clip of a request; `frames` are base64 of png or jpeg, at `indices` of `num_frames`."""

    prompt: str = ""
    fps: float = Field(gt=0, allow_inf_nan=False)
    num_frames: int = Field(ge=1)
    picture: Literal["png", "jpeg"] = "png"
    indices: tuple[int, ...] = ()
    frames: list[str] = Field(min_length=1, max_length=MAX_FRAMES)
    seams: tuple[int, ...] = ()
    first_picture: str | None = None

    def clip(self) -> Clip:
        """Return the clip, with the frame rate of the frames sent.

        Raises ValueError for a frame that is no picture.
        """
        count = len(self.frames)
        if count > self.num_frames:
            raise ValueError(f"{count} frames were sent of a clip of {self.num_frames}")
        fps = self.fps * (count - 1) / (self.num_frames - 1) if 1 < count < self.num_frames else self.fps
        seams = self.seams if count == self.num_frames else ()
        given = [] if self.first_picture is None else [self.first_picture]
        frames = np.ascontiguousarray(decode_frames([*self.frames, *given]))
        return Clip(
            frames=frames[:count],
            fps=fps,
            prompt=self.prompt,
            seams=seams,
            first_picture=frames[count] if given else None,
        )


class ScoreRequest(FrozenModel):
    """A request of scores: the names asked for (none: the default score) and the clips."""

    protocol: int
    names: tuple[str, ...] = ()
    clips: tuple[SentClip, ...] = Field(min_length=1, max_length=MAX_CLIPS)


def build_api(rewards: ServedRewards, *, token: str = "", batch: int = 8) -> FastAPI:
    """Return the server's application; with a `token`, all calls but `/health` need it.

    Errors are JSON, `{"error": sentence}`: 401 for the token, 403 for the host name, 400 for a request that does not
    fit, 413 for a large one, 415 for another content type.
    A clip that cannot be scored has an error in its result and does not stop the others.
    """
    api = FastAPI(title="Dailies reward server", docs_url=None, redoc_url=None, openapi_url=None)
    scorer = BatchScorer(rewards, batch)
    api.router.on_shutdown.append(scorer.close)

    @api.exception_handler(Refused)
    async def refuse(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=error.status)

    # These two need no thread: waiting scorings may hold all of the pool.
    @api.get("/health")
    async def health() -> Mapping[str, Any]:
        return {"status": "ok", "protocol": PROTOCOL, "waiting": scorer.num_waiting}

    @api.get("/rewards")
    async def listing(request: Request) -> Mapping[str, Any]:
        _check_sender(request, token)
        return {
            **_identity(rewards),
            "names": list(rewards.names),
            "default": rewards.default,
            "rewards": [_described(name, key) for name, key in rewards.keys.items()],
        }

    @api.post("/score")
    async def score(request: Request) -> Mapping[str, Any]:
        _check_sender(request, token)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "The request is not JSON: send the header Content-Type: application/json.")
        body = await _body(request)
        return await run_in_threadpool(_answer, rewards, scorer, body)

    return api


def _answer(rewards: ServedRewards, scorer: BatchScorer, body: bytes) -> Mapping[str, Any]:
    try:
        asked = ScoreRequest.model_validate_json(body)
        if asked.protocol != PROTOCOL:
            raise ValueError(f"the protocol is {asked.protocol}, but this server has {PROTOCOL}")
        names = rewards.check_names(asked.names)
        clips = _decoded(asked.clips)
    except ValidationError as error:
        raise Refused(400, f"The request is wrong at {first_problem(error, 'the body')}.") from error
    except RewardError as error:
        raise Refused(400, str(error)) from error
    except ValueError as error:
        raise Refused(400, f"The request is wrong: {error}.") from error
    results = [answer_of(scored, names, single=not asked.names) for scored in scorer.score(clips)]
    return {**_identity(rewards), "results": results}


def _decoded(sent: Sequence[SentClip]) -> list[Clip]:
    """Return the clips. Raises ValueError for more pixels together than a single clip may have."""
    clips, pixels = [], 0
    for one in sent:
        clips.append(one.clip())
        pixels += clips[-1].num_frames * clips[-1].height * clips[-1].width
        if pixels > MAX_PIXELS:
            raise ValueError(f"its clips have more than {MAX_PIXELS} pixels together: send fewer at once")
    return clips


def is_loopback(host: str) -> bool:
    """Return True for an address that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _identity(rewards: ServedRewards) -> dict[str, str]:
    return {"model": rewards.mix.key, "version": rewards.version}


def _described(name: str, key: str) -> dict[str, Any]:
    spec = reward_spec(key)
    fields = ("title", "question", "licence", "source", "of_prompt")
    return {"name": name, **{field: getattr(spec, field) for field in fields}}


def _check_sender(request: Request, token: str) -> None:
    if not token and not is_loopback(request.url.hostname or ""):
        raise Refused(403, f"The host name {str(request.url.hostname)[:80]!r} is not this machine's: use 127.0.0.1.")
    given = request.headers.get("authorization", "")
    if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Refused(401, "The request needs the server's token, as the header Authorization: Bearer TOKEN.")


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refused(413, f"The request has more than {MAX_BODY_BYTES // 2**20} MiB: send fewer clips or frames.")
        parts.append(part)
    return b"".join(parts)
