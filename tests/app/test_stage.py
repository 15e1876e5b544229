"""What the stage of Generate shows when jobs end: the clips of its own jobs, unless another clip was opened."""

from collections.abc import Callable
from typing import Any, cast

import gradio as gr
import pytest

from app.context import AppContext
from app.tabs.generate import GenerateTab
from app.views.jobs import clip_ids as made_by
from app.views.jobs import used_prompts, watched_jobs
from engine.jobs.spec import Job, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.storage.library import ClipRecord

MakeClip = Callable[..., ClipRecord]
pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def generate(context: AppContext, open_tab: Any) -> GenerateTab:
    return cast(GenerateTab, open_tab(lambda tab: GenerateTab(context, tab)))


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


def shown_ids(outputs: list[Any]) -> list[str]:
    """Return the clips in the player of `GenerateTab.outputs`."""
    return [clip["id"] for clip in outputs[2]["clips"]]


def ended_job(context: AppContext, make_clip: MakeClip, seeds: tuple[int, ...], prompt: str = "x", **more: Any) -> Job:
    """A finished job that made these clips."""
    requests = [GenerationRequest(prompt=prompt, seed=seed, num_frames=9) for seed in seeds]
    context.queue.submit(JobSpec.generate(requests, **more))
    job = context.queue.claim(ProcessIdentity.current())
    assert job is not None
    ids = [make_clip(prompt=prompt, seed=seed).id for seed in seeds]
    context.queue.finish(job.id, "done", result={"clip_ids": ids})
    return context.queue.get(job.id)


def test_clips_of_a_campaign_are_not_shown(generate: GenerateTab, context: AppContext, make_clip: MakeClip) -> None:
    job = ended_job(context, make_clip, (1, 2), campaign="A campaign")
    assert shown_ids(generate.resume()[1:]) == [] == shown_ids(generate.show_job({"cards": []}, event(ids=[job.id])))
    assert used_prompts(context) == []
    context.queue.submit(JobSpec(kind=job.kind, config=job.config))
    assert watched_jobs(context, "generate")["active"] == []
    assert len(watched_jobs(context, "generate", campaigns=True)["active"]) == 1


def test_a_clip_that_was_opened_stays_when_a_job_ends(
    generate: GenerateTab, context: AppContext, make_clip: MakeClip
) -> None:
    first, later = (ended_job(context, make_clip, seeds) for seeds in ((1, 2), (3, 4)))
    before = generate.show_job({"cards": []}, event(ids=[first.id]))
    opened = made_by(first)[1]
    looked_at = generate.show_take(before[-1], event(id=opened))
    still = generate.show_job(looked_at[-1], event(ids=[later.id]))
    assert shown_ids(still) == [opened]
    assert still[-1]["ready"] == {"ids": [later.id], "sentence": "Ready: 2 clips: x"}
    now = generate.show_ready(event(ids=[later.id]))
    assert shown_ids(now) == made_by(later)[:1] and "ready" not in now[-1]
    compared = generate.compare(before[-1], event(ids=made_by(first)))
    assert shown_ids(generate.show_job(compared[-1], event(ids=[later.id]))) == made_by(first)
    newest = ended_job(context, make_clip, (5,))
    assert shown_ids(generate.show_job(looked_at[-1], event(ids=[newest.id]))) == made_by(newest)
