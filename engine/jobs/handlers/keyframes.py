"""The "keyframes" job: the first stage of keyframe-then-inbetween alone, for review by the user."""

from contextlib import closing

from engine.generation.context import KeyframesReady, Progress
from engine.generation.pipeline import generate
from engine.generation.previews import with_previews
from engine.jobs.context import JobContext
from engine.jobs.handlers.generate import opened, tools_of
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress, KeyframesConfig
from engine.storage.images import save_picture


def draw_keyframes(config: KeyframesConfig, context: JobContext) -> JobSteps:
    """Draw the keyframes that are not given.

    Result: `keyframes`, each `{"frame": n, "picture": its name}`.
    """
    request, workspace = config.request, context.store.workspace
    family = yield from opened(request.model, request.scales, context)

    keyframes: list[dict[str, int | str]] = []
    drawn = generate(family, [request], tools_of(workspace, only_keyframes=True))
    with closing(with_previews(drawn, family, context.preview if config.preview else None)) as events:
        for event in events:
            if isinstance(event, KeyframesReady):
                for frame, picture in zip(event.places, event.pictures, strict=True):
                    keyframes.append({"frame": frame, "picture": save_picture(workspace, picture)})
            elif isinstance(event, Progress):
                yield JobProgress(phase=event.phase, step=event.step, of=event.of)
    return {"keyframes": keyframes}
