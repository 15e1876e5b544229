"""View models: what components get is made of records alone, and says what is true."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.context import AppContext
from app.text import general
from app.text import score as text_score
from app.text.numbers import time_left
from app.views import clip_panel, clips, jobs
from app.views import library as shelf
from app.views.scores import remarks, scores
from engine.jobs.job_rows import last_ended
from engine.jobs.spec import Job, JobProgress, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.stale_totals import withdraw_old_totals
from engine.storage.library import ClipFilter, ClipRecord

MakeClip = Callable[..., ClipRecord]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


# ---- Scores
def test_scores_say_what_was_measured_and_why_not(make_clip: MakeClip, context: AppContext) -> None:
    smooth, loop = scores(context.store.report(make_clip(score=0.7).id))
    assert (smooth.spec.key, smooth.value, smooth.result.raw, smooth.weight) == ("flow_smoothness", 0.7, 1.25, 1.0)
    assert smooth.per_frame[:2] == [None, 0.0] and len(smooth.per_frame) == 9
    assert loop.value is None and loop.result.reason == "the clip is shorter than two loops" and loop.weight == 0


def test_a_clip_that_nothing_scored_has_no_scores() -> None:
    assert scores(None) == [] and remarks(None) == []


def test_remarks_name_the_gates_that_cost_something(make_clip: MakeClip, context: AppContext) -> None:
    said = remarks(context.store.report(make_clip().id))
    assert said[0] == text_score.not_applicable(["Loop break"])
    assert [sentence for sentence in said if "0.40" in sentence] == [text_score.gate("motion", 0.4)]
    assert len(said) == 2


def test_a_score_of_another_calibration_is_marked_and_not_ranked(make_clip: MakeClip, context: AppContext) -> None:
    old, new = make_clip(prompt="old", score=0.9), make_clip(prompt="new", score=0.4)
    stored = context.store.report(old.id)
    assert stored is not None
    context.store.save_report(old.id, "mini", {**stored, "calibration": "mini-0.9"})
    assert withdraw_old_totals(context.store) == 1
    cards = shelf.page(context.store, ClipFilter(order="best"))["cards"]
    assert [(card["id"], card["score"], card["tag"]) for card in cards] == [
        (new.id, "0.40", ""),
        (old.id, "", text_score.UNRANKED),
    ]
    shown = clips.facts(context.store.clip(old.id), ["score_clip"], remarks(context.store.report(old.id)))
    assert shown["total"] == text_score.UNRANKED and text_score.OLD_REPORT in shown["remarks"]
    assert text_score.OLD_REPORT not in remarks(context.store.report(new.id))


def test_a_reward_that_is_gone_keeps_its_score(report: Any) -> None:
    stored = report("x", 0.5).to_dict()
    stored["results"]["retired"] = stored["results"].pop("flow_smoothness")
    assert "retired" in [score.spec.title for score in scores(stored)]


# ---- Clips
def test_a_card_links_to_files_of_its_own_clip(make_clip: MakeClip) -> None:
    record = make_clip(prompt="<b>x</b> ${1+1}", seed=12, score=0.123)
    card = clips.card(record)
    assert card["prompt"] == "<b>x</b> ${1+1}"  # as it was typed: the script shows it as text
    assert card["video"] == f"/media/clips/{record.id}/clip.mp4"
    assert (card["score"], card["link"]) == ("0.12", f"/clip/{record.id}")
    assert card["detail"] == "mini  ·  9 frames"
    assert clips.card(record, "Take 1")["detail"] == "mini  ·  seed 12"


def test_an_imported_clip_offers_nothing_that_needs_settings(context: AppContext) -> None:
    record = ClipRecord(id="0" * 16, prompt="", source="imported", num_frames=9, width=64, height=48, fps=25.0)
    facts = clips.facts(record, ["again", "use_settings", "remove_clip"])
    assert [key for key, _, _ in facts["actions"]] == ["remove_clip"]
    assert facts["total"] == general.NOT_SCORED and facts["request"] is None
    assert dict(facts["rows"])["Size"] == "64 × 48 px"
    assert "Seed" not in dict(facts["rows"])


def test_what_was_noted_while_a_clip_was_made_stands_with_it(make_clip: MakeClip) -> None:
    record = make_clip(changes={"notes": ("It was too long.",), "starred": True})
    facts = clips.facts(record, ["star_clip"], ["A gate is shut."])
    assert facts["remarks"] == ["It was too long.", "A gate is shut."]
    assert facts["actions"][0][1] == "Remove star" and clips.card(record)["starred"]


def test_every_action_has_words() -> None:
    from app.tabs import generate, library

    assert {*generate.ACTIONS, *library.ACTIONS} == set(general.ACTIONS)


# ---- The stage
def test_one_clip_has_player_facts_and_plots(make_clip: MakeClip, context: AppContext) -> None:
    first, second = make_clip(seed=1), make_clip(seed=2)
    view = clip_panel.one(context.store, first, ["again"], [second])
    assert [clip["id"] for clip in view.player["clips"]] == [first.id]
    assert view.player["prefetch"] == [clips.media_url(second.id, "clip.mp4")]
    assert view.facts is not None and view.bars is not None and view.timeline is not None


def test_at_most_four_are_compared(make_clip: MakeClip, context: AppContext) -> None:
    records = [make_clip(seed=seed) for seed in range(6)]
    view = clip_panel.several(context.store, records)
    assert [clip["id"] for clip in view.player["clips"]] == [record.id for record in records[:4]]
    assert [trace.name for trace in view.bars.data] == list("ABCD")
    assert view.facts is None and view.timeline is None


def test_takes_keep_the_order_asked_for_and_drop_what_was_deleted(make_clip: MakeClip, context: AppContext) -> None:
    ids = [make_clip(seed=seed).id for seed in (3, 1, 2)]
    context.store.delete([ids[1]])
    assert [record.id for record in clip_panel.in_order(context.store, [*ids, ids[0], "0" * 16])] == [ids[0], ids[2]]


def test_a_single_take_needs_no_strip(make_clip: MakeClip) -> None:
    record = make_clip()
    assert clip_panel.takes([record], record.id)["cards"] == []
    names = [card["name"] for card in clip_panel.takes([record, make_clip(seed=5)], record.id)["cards"]]
    assert names == ["#1", "#2"]


# ---- The shelf
def values(**changes: Any) -> list[Any]:
    named = dict(zip(shelf.FILTERS, ("", "newest", "any", "", "", "", 0, 1, False), strict=True))
    return list({**named, **changes}.values())


def test_an_untouched_filter_filters_nothing() -> None:
    assert shelf.read_filter(values()) == ClipFilter()


def test_an_emptied_score_filters_nothing() -> None:
    assert shelf.read_filter(values(score_from=None, score_to=None)) == ClipFilter()
    assert shelf.read_filter(values(score_to=0)).max_total == 0


def test_filters_are_read() -> None:
    found = shelf.read_filter(
        values(text="red", model="mini", source="imported", score_from=0.2, score_to=0.8, order="best", starred=True)
    )
    assert found.starred is True
    assert (found.text, found.model, found.source, found.order) == ("red", "mini", "imported", "best")
    assert (found.min_total, found.max_total) == (0.2, 0.8)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("any", {}),
        ("hour", {"since": NOON - timedelta(hours=1)}),
        ("month", {"since": NOON - timedelta(days=30)}),
        ("before", {"until": NOON - timedelta(days=30)}),
    ],
)
def test_dates(choice: str, expected: dict[str, datetime]) -> None:
    assert shelf.period(choice, NOON) == expected


def test_every_date_and_order_that_is_offered_can_be_read() -> None:
    for date in general.DATES:
        for order in general.ORDERS:
            assert shelf.read_filter(values(date=date, order=order)).order == order


def test_clips_are_sorted_by_one_reward(make_clip: MakeClip, context: AppContext) -> None:
    ids = [make_clip(seed=seed, score=score).id for seed, score in enumerate((0.1, 0.9, None, 0.5))]
    by = f"{shelf.BY_REWARD}flow_smoothness"
    assert ("Best Flow smoothness first", by) in shelf.orders()
    found = shelf.page(context.store, shelf.read_filter(values(order=by)))
    assert [card["id"] for card in found["cards"]] == [ids[1], ids[3], ids[0], ids[2]]
    assert shelf.page(context.store, shelf.read_filter(values(order=by, text="x")))["empty"]


def test_pages(make_clip: MakeClip, context: AppContext) -> None:
    for seed in range(shelf.PAGE_SIZE + 2):
        make_clip(seed=seed, score=None)
    first, last = (shelf.page(context.store, ClipFilter(), number) for number in (0, 99))
    assert (first["first"], first["last"], first["total"], first["pages"]) == (
        1,
        shelf.PAGE_SIZE,
        shelf.PAGE_SIZE + 2,
        2,
    )
    assert (last["page"], last["first"], last["last"]) == (1, shelf.PAGE_SIZE + 1, shelf.PAGE_SIZE + 2)
    assert len({card["id"] for card in first["cards"] + last["cards"]}) == shelf.PAGE_SIZE + 2


def test_scores_between_two_bounds(make_clip: MakeClip, context: AppContext) -> None:
    for seed, score in enumerate((0.1, 0.5, 0.9, None)):
        make_clip(seed=seed, score=score)
    found = shelf.page(context.store, shelf.read_filter(values(score_from=0.3, score_to=0.7)))
    assert [card["score"] for card in found["cards"]] == ["0.50"]


def test_an_empty_grid_says_why(context: AppContext) -> None:
    assert shelf.page(context.store, ClipFilter(order="best"))["empty"]["title"] == general.LIBRARY_EMPTY[0]
    assert shelf.page(context.store, ClipFilter(text="x"))["empty"]["title"] == general.NOTHING_FOUND[0]


def test_a_removal_can_be_undone_from_the_grid(make_clip: MakeClip, context: AppContext) -> None:
    record = make_clip()
    context.store.delete([record.id])
    page = shelf.page(context.store, ClipFilter(), removed=[record.id])
    assert page["undo"] == {"ids": [record.id], "sentence": "Deleted 1 clip."}


# ---- Jobs
def job(**changes: Any) -> Job:
    given = {"id": "0" * 8, "kind": "generate", "status": "queued", "created_at": NOON}
    config = JobSpec.generate([GenerationRequest(prompt="a star", seed=seed) for seed in (1, 2)]).config
    return Job(**{**given, "config": config, **changes})


@pytest.mark.parametrize(
    ("changes", "line", "fraction"),
    [
        ({"position": 1}, "Next in the queue", None),
        ({"position": 3}, "Queued, #3", None),
        ({"status": "running"}, "Starting", None),
        ({"status": "running", "progress": JobProgress(phase="load")}, "Loading the model", None),
        (
            {"status": "running", "progress": JobProgress(phase="denoise", step=5, of=20)},
            "Denoising, step 5 of 20",
            0.25,
        ),
        (
            {"status": "running", "progress": JobProgress(phase="before", step=8, of=32)},
            "Generating with the base model, step 8 of 32",
            0.25,
        ),
        ({"status": "stopping"}, general.STOPPING, None),
        ({"status": "failed", "error": "The disk is full."}, "The disk is full.", None),
        ({"status": "cancelled"}, "Cancelled.", None),
    ],
)
def test_what_a_job_says(changes: dict[str, Any], line: str, fraction: float | None) -> None:
    card = jobs.job_card(job(**changes))
    assert (card["line"], card["fraction"]) == (line, fraction)
    assert card["title"] == "2 clips: a star"


def test_jobs_are_titled_by_what_they_are_for() -> None:
    requests = [GenerationRequest(prompt=prompt) for prompt in ("a star", "a ball")]
    made = job(config=JobSpec.generate(requests, campaign="Run 12 against the base").config)
    assert jobs.title(made) == "Campaign Run 12 against the base: 2 clips"
    assert jobs.title(job(kind="inspect", config={})) == "PyTorch diagnostics"


def test_time_left_is_said_while_running() -> None:
    progress = JobProgress(phase="denoise", step=5, of=20, eta_s=3.4)
    assert jobs.job_card(job(status="running", progress=progress))["eta"] == "about 3 s left"
    assert jobs.job_card(job(status="failed", progress=progress))["eta"] == ""
    assert (time_left(600), time_left(7200), time_left(None)) == ("about 10 min left", "about 2.0 h left", "")


def test_what_can_be_done_with_a_job() -> None:
    can = {status: jobs.job_card(job(status=status)) for status in ("queued", "running", "stopping", "failed", "lost")}
    assert [status for status, card in can.items() if card["can_cancel"]] == ["queued", "running"]
    assert [status for status, card in can.items() if card["can_retry"]] == ["failed", "lost"]


def test_the_queue_has_what_is_not_over_and_the_jobs_that_ended_last(context: AppContext) -> None:
    spec = JobSpec.generate([GenerationRequest(prompt="a star")])
    submitted = [context.queue.submit(spec) for _ in range(3)]
    context.queue.cancel(submitted[0].id)
    me = ProcessIdentity.current()
    done = context.queue.claim(me)
    assert done is not None and done.id == submitted[1].id
    context.queue.finish(done.id, "done", result={"clip_ids": []})
    # What waits for a worker is not claimed here, so the queue's state would start one: look at the ended ones alone.
    ended = [found.id for found in last_ended(context.store.database, 5)]
    assert (
        ended == [submitted[1].id, submitted[0].id] and last_ended(context.store.database, 1)[0].id == submitted[1].id
    )
    assert jobs.clip_ids(context.queue.get(done.id)) == []


def test_captions_name_the_adapter_and_what_differs() -> None:
    base = ClipRecord.generated(GenerationRequest(prompt="a red ball", seed=7, guidance=3.0))
    tuned = ClipRecord.generated(GenerationRequest(prompt="a red ball", seed=7, guidance=5.0, adapter="mini_nft-a7"))
    plain, adapted = clips.captions([base, tuned])
    assert "mini (base model)  ·  seed 7  ·  Guidance: 3" in plain
    assert "mini + mini_nft-a7  ·  seed 7  ·  Guidance: 5" in adapted
    assert "Prompt" not in plain and "Size" not in plain
    assert clips.captions([tuned]) == ["mini + mini_nft-a7  ·  seed 7"] and clips.captions([]) == []
    other = ClipRecord.generated(GenerationRequest(prompt="a blue ball", seed=7))
    assert "Prompt: “a blue ball”" in clips.captions([base, other])[1]
    assert clips.card(tuned)["detail"] == f"mini + mini_nft-a7  ·  {tuned.num_frames} frames"
