"""What the strip of keyframes shows, and the requests that its buttons stand for."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import ConfigError
from engine.jobs.spec import Job, KeyframesConfig
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan

Strip = dict[str, Any]


def picture_url(name: str) -> str:
    return f"/media/pictures/{name}.png"


def strip_of(job: Job) -> Strip:
    """The value of a strip that shows what a finished "keyframes" job drew."""
    config = KeyframesConfig(**job.config)
    drawn = [GivenKeyframe(**keyframe) for keyframe in (job.result or {}).get("keyframes", ())]
    return _strip(config.request, config.mix, drawn)


def given_in(request: GenerationRequest, mix: str | None) -> Strip | None:
    """The strip of the keyframes that were given for a clip; None where none was."""
    given = _plan(request).given
    if not given:
        return None
    drawn = _plan(request).model_copy(update={"given": (), "source": "joint"})
    return _strip(request.model_copy(update={"keyframes": drawn}), mix, given)


def replaced(shown: Strip, frame: int, picture: str) -> Strip:
    """The strip with another picture at a frame."""
    request, mix, keyframes = read_strip(shown)
    others = [keyframe for keyframe in keyframes if keyframe.frame != frame]
    given = sorted([*others, GivenKeyframe(frame=frame, picture=picture)], key=lambda keyframe: keyframe.frame)
    return _strip(request, mix, given)


def usable(shown: Strip | None) -> Strip | None:
    """The strip as it is, to be worked on again: the page paints only what changes."""
    return shown and {**shown, "usable": time.monotonic()}


def redrawn(shown: Strip, frame: int, seed: int) -> tuple[GenerationRequest, str | None]:
    """The request whose keyframes are those of the strip, but for one that is to be drawn anew; and the mix."""
    request, mix, keyframes = read_strip(shown)
    plan = _plan(request).model_copy(update={"given": tuple(k for k in keyframes if k.frame != frame)})
    return request.model_copy(update={"keyframes": plan, "seed": seed}), mix


def completed(shown: Strip) -> tuple[GenerationRequest, str | None]:
    """The request for the clip whose keyframes are exactly those of the strip; and the mix that scores it."""
    request, mix, keyframes = read_strip(shown)
    plan = _plan(request).model_copy(update={"given": tuple(keyframes), "source": "given"})
    return request.model_copy(update={"keyframes": plan}), mix


def read_strip(shown: Mapping[str, Any] | None) -> tuple[GenerationRequest, str | None, list[GivenKeyframe]]:
    """Request, mix and keyframes of a strip. Raises ConfigError for one that shows nothing."""
    if not shown or not shown.get("cards"):
        raise ConfigError("There are no keyframes on the page: draw some first.")
    cards = [GivenKeyframe(frame=card["frame"], picture=card["picture"]) for card in shown["cards"]]
    return GenerationRequest(**shown["request"]), shown["mix"], cards


def _plan(request: GenerationRequest) -> KeyframePlan:
    return request.keyframes or KeyframePlan()


def _strip(request: GenerationRequest, mix: str | None, keyframes: Sequence[GivenKeyframe]) -> Strip:
    cards = [{"frame": k.frame, "picture": k.picture, "url": picture_url(k.picture)} for k in keyframes]
    return {"request": request.model_dump(mode="json"), "mix": mix, "cards": cards}
