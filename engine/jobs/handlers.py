"""What the kinds of jobs do. A handler yields where it is and returns the result; worker and CLI drain the same.

What is finished is kept at once, clip by clip: a job that is cut short, and filed again, makes only the rest.
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import groupby

from engine.config.presets import load_preset
from engine.data.adapters import find_adapter
from engine.data.clip_files import has_files, load_clip, remove_files, save_clip
from engine.data.imports import import_clip
from engine.data.store import ClipRecord, Store
from engine.data.uploads import discard_upload
from engine.errors import DailiesError, StoreError
from engine.families.adapters import use_adapter
from engine.generation.prompt_length import unread_notes
from engine.generation.request import GenerationRequest
from engine.jobs.context import JobContext
from engine.jobs.kinds import Run
from engine.jobs.spec import GenerateConfig, JobProgress, ScoreConfig

Scoring = Generator[JobProgress, None, dict[str, str]]


def generate_clips(config: GenerateConfig, context: JobContext) -> Run:
    """Make the clips that are not there yet, then score all.

    Result: `clip_ids` in the order of the requests, `reused` those that were there, `unscored` a sentence by clip id.
    """
    wanted = {request.id: request for request in config.requests}
    reused = [request.id for request in wanted.values() if reuse(context.store, request)]
    missing = [request for request in wanted.values() if request.id not in reused]
    for (model, adapter), requests in groupby(sorted(missing, key=_weights), key=_weights):
        yield from _generate(model, adapter, list(requests), context)
    clip_ids = [request.id for request in config.requests]
    unscored = (yield from _score(list(wanted), config.mix, context.store)) if config.mix else {}
    return {"clip_ids": clip_ids, "reused": reused, "unscored": unscored}


def score_clips(config: ScoreConfig, context: JobContext) -> Run:
    """Score clips of the library, or import a file first. Result: `clip_ids`, and `unscored` a sentence by clip id."""
    clip_ids = list(config.clip_ids)
    if config.path is not None:
        yield JobProgress(phase="import")
        clip_ids = [import_clip(context.store, config.path, config.prompt).id]
        discard_upload(context.store.workspace, config.path)
    unscored = yield from _score(clip_ids, config.mix, context.store)
    return {"clip_ids": clip_ids, "unscored": unscored}


def reuse(store: Store, request: GenerationRequest) -> bool:
    """Whether the request's clip is on disk and whole. It is listed again if it was deleted, and removed if damaged."""
    if not has_files(store.workspace, request.id):
        return False
    try:
        load_clip(store.workspace, request.id)
    except StoreError:
        remove_files(store.workspace, request.id)
        return False
    store.add_clip(ClipRecord.generated(request, unread_notes(request)))
    return True


def _generate(
    model: str, adapter: str, requests: Sequence[GenerationRequest], context: JobContext
) -> Iterator[JobProgress]:
    """Make clips with one model and one adapter ("": none)."""
    folder = find_adapter(context.store.workspace, adapter, model).folder if adapter else None
    if context.model.key != model:
        yield JobProgress(phase="load")
    family = context.model.open(model)
    from engine.generation.generate import Generated, generate

    use_adapter(family.network, adapter or None, folder)

    for event in generate(family, requests):
        if isinstance(event, Generated):
            save_clip(context.store.workspace, event.request.id, event.clip, event.request)
            context.store.add_clip(ClipRecord.generated(event.request, unread_notes(event.request)))
        else:
            yield JobProgress(phase=event.phase, step=event.step, of=event.of)


def _score(clip_ids: Sequence[str], mix_key: str, store: Store) -> Scoring:
    """Score clips one by one. One that cannot be scored does not stop the others; if none can, its error is raised."""
    from rewards.suite import RewardSuite

    suite = RewardSuite(load_preset("rewards", mix_key))
    unscored: dict[str, str] = {}
    for step, clip_id in enumerate(clip_ids):
        yield JobProgress(phase="score", step=step, of=len(clip_ids))
        try:
            report = suite.score(load_clip(store.workspace, clip_id), clip_id)
            store.save_report(clip_id, mix_key, report.to_dict())
        except DailiesError as error:
            unscored[clip_id] = str(error)
            if len(unscored) == len(clip_ids):
                raise
    return unscored


def _weights(request: GenerationRequest) -> tuple[str, str]:
    return request.model, request.adapter or ""
