"""The "generate" job.

A handler yields its progress and returns its result; worker and CLI run the same handlers. Each clip is saved as soon
as it is made: an interrupted job that is submitted again makes only the rest.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.presets import load_model_preset
from engine.estimation.clip_estimate import describe_memory
from engine.families.files.sources import cached_revisions
from engine.families.lora import activate_adapters
from engine.families.prompt_cache import PromptCache
from engine.generation.prompt_length import truncation_warnings
from engine.jobs.context import JobContext
from engine.jobs.handlers.score import score_each
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import GenerateConfig, JobProgress
from engine.request import GenerationRequest
from engine.runs.adapters import find_adapter
from engine.storage.clip_files import add_with_files, is_intact, keep_clip
from engine.storage.images import load_picture
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace

if TYPE_CHECKING:
    from engine.family_interface import ModelFamily
    from engine.generation.context import GenerationContext


def generate_clips(config: GenerateConfig, context: JobContext) -> JobSteps:
    """Make the clips that do not exist yet, then score all.

    Result: `clip_ids` in the order of the requests; `reused`, the clips that existed; `unscored`, an error message by
    clip id. Raises StoreError when a given picture is missing or damaged.
    """
    requests_by_id = {request.id: request for request in config.requests}
    reused = [request.id for request in requests_by_id.values() if reuse(context.store, request)]
    missing = [request for request in requests_by_id.values() if request.id not in reused]
    for name in {name for request in missing for name in (request.image, request.last_image) if name}:
        load_picture(context.store.workspace, name)  # a missing picture fails the job before the model is loaded
    for _, requests in groupby(sorted(missing, key=_weights), key=_weights):
        yield from _generate(list(requests), context, context.preview if config.preview else None)
    clip_ids = [request.id for request in config.requests]
    unscored = (yield from score_each(list(requests_by_id), config.mix, context.store)) if config.mix else {}
    return {"clip_ids": clip_ids, "reused": reused, "unscored": unscored}


def reuse(store: Library, request: GenerationRequest) -> bool:
    """Return True when the request's clip is on disk and undamaged.

    A clip that was deleted from the library is added again.
    """
    if not is_intact(store.workspace, request.id):
        return False
    return not add_with_files(store, [ClipRecord.generated(request, truncation_warnings(request))])


def _generate(requests: Sequence[GenerationRequest], job: JobContext, preview: Path | None) -> Iterator[JobProgress]:
    """Make clips with one model and the same adapters, with previews in the file `preview`."""
    from engine.generation import context, pipeline, previews

    model = requests[0].model
    family = yield from opened(model, requests[0].scales, job)
    revisions = cached_revisions(load_model_preset(model))
    made = pipeline.generate(family, requests, tools_of(job.store.workspace))
    with closing(previews.with_previews(made, family, preview)) as events:
        for event in events:
            if isinstance(event, context.ClipReady):
                record = ClipRecord.generated(event.request, truncation_warnings(event.request))
                keep_clip(job.store, record, event.clip, event.request, revisions)
            else:
                yield JobProgress(phase=event.phase, step=event.step, of=event.of)


def opened(
    model: str, adapters: Mapping[str, float], context: JobContext
) -> "Generator[JobProgress, None, ModelFamily]":
    """Return the model, loaded if necessary, with the adapters active at their scales."""
    folders = {name: find_adapter(context.store.workspace, name, model).folder for name in adapters}
    if context.model.key != model:
        yield JobProgress(phase="load")
    family = context.model.open(model)
    activate_adapters(family.network, adapters, folders)
    return family


def tools_of(workspace: Workspace, *, only_keyframes: bool = False) -> "GenerationContext":
    """Return the parts of a workspace that generation uses: its prompt cache and its pictures."""
    from engine.generation.context import GenerationContext

    return GenerationContext(
        prompts=PromptCache(workspace.prompts),
        pictures=partial(load_picture, workspace),
        only_keyframes=only_keyframes,
        describe_memory=describe_memory,
    )


def _weights(request: GenerationRequest) -> tuple[object, ...]:
    return request.model, *request.scales.items()
