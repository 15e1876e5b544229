"""Lists of prompts and sweeps on the page: grids of clips with labelled axes, and their forecast."""

from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import median
from typing import Any

from app.context import AppContext
from app.text import batches as text
from app.views import clips
from app.views.jobs import clip_ids
from engine.jobs.spec import Job
from engine.request import GenerationRequest
from engine.storage.library import ClipRecord

PACED = 5  # earlier jobs that a forecast is made from


def requested_ids(job: Job) -> list[str]:
    """Return the ids of all clips of a "generate" job, made or not, in the order of its requests."""
    return [GenerationRequest(**request).id for request in job.config["requests"]]


def cards(axes: Sequence[Mapping[str, Any]], ids: Sequence[str], records: Sequence[ClipRecord]) -> list[Any]:
    """Return the cards of a batch in the order of its `ids`, None for a clip that does not exist."""
    made = {record.id: record for record in records}
    names = axes[0]["values"] if len(axes) == 1 else [""] * len(ids)
    return [clips.card(made[clip], name) if clip in made else None for clip, name in zip(ids, names, strict=True)]


def titled(axes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return axes with the titles that the grid shows."""
    return [{**axis, "title": text.TITLES.get(axis["name"], axis["name"])} for axis in axes]


def is_comparison(job: Job) -> bool:
    """Return True for a "generate" job of two requests that differ in their adapters only."""
    requests = [GenerationRequest(**request).without_adapters() for request in job.config["requests"]]
    return len(requests) == 2 and requests[0] == requests[1]


def forecast(context: AppContext, requests: Sequence[GenerationRequest]) -> float | None:
    """Return the seconds that the missing clips of `requests` take.

    It is None without an earlier job of their model. The pace is the median of the last jobs that made all of their
    clips, with the time to load the model and to score.
    """
    missing = {request.id: request for request in requests}
    for clip in context.store.existing(missing):
        del missing[clip]
    jobs = context.queue.list("done", "generate", limit=200)
    paces = [*islice((pace for job in jobs if (pace := _pace(job, requests[0].model))), PACED)]
    if not missing:
        return 0.0
    return median(paces) * sum(map(_work, missing.values())) if paces else None


def _pace(job: Job, model: str) -> float | None:
    """Return a job's seconds per unit of work; None unless it made all of its clips with this model."""
    requests = [GenerationRequest(**request) for request in job.config["requests"]]
    if not (job.started_at and job.ended_at and clip_ids(job)) or (job.result or {}).get("reused"):
        return None
    if {request.model for request in requests} != {model}:
        return None
    return (job.ended_at - job.started_at).total_seconds() / sum(map(_work, requests))


def _work(request: GenerationRequest) -> float:
    passes = 2 if request.guidance > 1 else 1
    return passes * request.num_steps * request.num_frames * request.width * request.height
