"""Values of the keyframe editor, and the requests that its buttons make."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import ConfigError
from engine.jobs.spec import Job, KeyframesConfig
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan

EditorValue = dict[str, Any]


def picture_url(name: str) -> str:
    return f"/media/pictures/{name}.png"


def from_job(job: Job) -> EditorValue:
    """Return the editor value for the result of a finished "keyframes" job."""
    config = KeyframesConfig(**job.config)
    drawn = [GivenKeyframe(**keyframe) for keyframe in (job.result or {}).get("keyframes", ())]
    return _value(config.request, config.mix, drawn)


def from_request(request: GenerationRequest, mix: str | None) -> EditorValue | None:
    """Return the editor value for the given keyframes of a request, None if it has none."""
    given = _plan(request).given
    if not given:
        return None
    drawn = _plan(request).model_copy(update={"given": (), "source": "joint"})
    return _value(request.model_copy(update={"keyframes": drawn}), mix, given)


def replaced(shown: EditorValue, frame: int, picture: str) -> EditorValue:
    """Return the editor value with another picture at a frame."""
    request, mix, keyframes = read_editor(shown)
    others = [keyframe for keyframe in keyframes if keyframe.frame != frame]
    given = sorted([*others, GivenKeyframe(frame=frame, picture=picture)], key=lambda keyframe: keyframe.frame)
    return _value(request, mix, given)


def usable(shown: EditorValue | None) -> EditorValue | None:
    """Re-enable the editor: the changed timestamp makes the page paint it again."""
    return shown and {**shown, "usable": time.monotonic()}


def redrawn(shown: EditorValue, frame: int, seed: int) -> tuple[GenerationRequest, str | None]:
    """Return the request that regenerates one keyframe and keeps the others, and the mix."""
    request, mix, keyframes = read_editor(shown)
    plan = _plan(request).model_copy(update={"given": tuple(k for k in keyframes if k.frame != frame)})
    return request.model_copy(update={"keyframes": plan, "seed": seed}), mix


def completed(shown: EditorValue) -> tuple[GenerationRequest, str | None]:
    """Return the request for the clip with exactly these keyframes, and the mix that scores it."""
    request, mix, keyframes = read_editor(shown)
    plan = _plan(request).model_copy(update={"given": tuple(keyframes), "source": "given"})
    return request.model_copy(update={"keyframes": plan}), mix


def read_editor(shown: Mapping[str, Any] | None) -> tuple[GenerationRequest, str | None, list[GivenKeyframe]]:
    """Return request, mix and keyframes of an editor value. Raises ConfigError if it is empty."""
    if not shown or not shown.get("cards"):
        raise ConfigError("There are no keyframes on the page: generate some first.")
    cards = [GivenKeyframe(frame=card["frame"], picture=card["picture"]) for card in shown["cards"]]
    return GenerationRequest(**shown["request"]), shown["mix"], cards


def _plan(request: GenerationRequest) -> KeyframePlan:
    return request.keyframes or KeyframePlan()


def _value(request: GenerationRequest, mix: str | None, keyframes: Sequence[GivenKeyframe]) -> EditorValue:
    cards = [{"frame": k.frame, "picture": k.picture, "url": picture_url(k.picture)} for k in keyframes]
    return {"request": request.model_dump(mode="json"), "mix": mix, "cards": cards}
