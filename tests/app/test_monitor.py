"""The Monitor's curve feed, samples, curricula and files: the browser gets new data only."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.media import media_routes
from app.context import AppContext
from app.tabs.monitor import MonitorTab
from app.text import monitor as text
from app.trackio_dashboard import trackio_link
from app.views.scores import reward_titles
from app.views.training import curriculum_progress, samples
from app.views.training.metric_charts import GROUPS, CurveFeed, grouped
from app.views.training.runs import run_list
from engine.config.curriculum_preset import CurriculumPreset
from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.files.locks import try_lock
from engine.files.manifests import write_manifest
from engine.jobs.runs.run_actions import run_state
from engine.jobs.spec import JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.curriculum_state import AttemptRecord, ConditionResult, Curriculum, CurriculumState, GateResult
from engine.runs.results import Alarm, Interval
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from rewards import Clip

pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture
def new_run(context: AppContext) -> Callable[..., Run]:
    """`new_run(steps)`: a run that logged so many steps, a minute each."""

    def make(steps: int = 0, **settings: Any) -> Run:
        run = Run.create(context.workspace, load_train_preset("mini_nft", {"settings": settings}))
        for step in range(1, steps + 1):
            run.append_metrics(step, {"loss": 1 / step, "reward": step / 10, "at": 1000.0 + 60 * step, "of": 9})
        return run

    return make


def unpacked(words: str) -> list[float]:
    return [round(float(number), 4) for number in np.frombuffer(base64.b64decode(words), "<f4")]


def curve(news: dict[str, Any], run: Run, name: str) -> tuple[list[float], list[float]]:
    x, y = news["series"][run.id]["data"][name]
    return unpacked(x), unpacked(y)


def test_nothing_yet(context: AppContext) -> None:
    news = CurveFeed(context).news({})
    assert (news["runs"], news["chosen"], news["looked"]) == ([], [], None)
    assert news["empty"] == {"title": text.NO_RUNS[0], "hint": text.NO_RUNS[1]}


def test_only_what_is_new_is_told(context: AppContext, new_run: Callable[..., Run]) -> None:
    run, feed = new_run(3), CurveFeed(context)
    first = feed.news({})
    assert first["chosen"] == [run.id] and first["series"][run.id]["whole"]
    assert curve(first, run, "loss") == ([1.0, 2.0, 3.0], [1.0, 0.5, 0.3333])
    have = {run.id: [first["series"][run.id]["epoch"], first["series"][run.id]["step"]]}
    assert feed.news({"runs": [run.id], "have": have})["series"] == {}
    run.append_metrics(4, {"loss": 0.25})
    second = feed.news({"runs": [run.id], "have": have})
    assert not second["series"][run.id]["whole"]
    assert curve(second, run, "loss") == ([4.0], [0.25])
    assert "reward" not in second["series"][run.id]["data"]
    run.append_metrics(3, {"loss": 9.0})
    third = feed.news({"runs": [run.id], "have": {run.id: [second["series"][run.id]["epoch"], 4]}})
    assert third["series"][run.id]["whole"]
    assert curve(third, run, "loss") == ([1.0, 2.0, 3.0], [1.0, 0.5, 9.0])
    run.append_metrics(3, {"samples/total": 0.5})
    fourth = feed.news({"runs": [run.id], "have": {run.id: [third["series"][run.id]["epoch"], 3]}})
    assert curve(fourth, run, "samples/total") == ([3.0], [0.5]), "of a step that the browser had read already"


def test_the_time_axis_is_in_minutes(context: AppContext, new_run: Callable[..., Run]) -> None:
    run = new_run(3)
    assert curve(CurveFeed(context).news({"axis": "time"}), run, "reward") == ([0.0, 1.0, 2.0], [0.1, 0.2, 0.3])


def test_minutes_never_fall_when_the_clock_was_set_back(context: AppContext, new_run: Callable[..., Run]) -> None:
    run = new_run(0)
    for step, moment in enumerate((1e9, 1e9 + 60, 1e9 - 86400, 1e9 - 86340), start=1):
        run.append_metrics(step, {"reward": 0.5, "at": moment})
    assert curve(CurveFeed(context).news({"axis": "time"}), run, "reward")[0] == [0.0, 1.0, 1.0, 2.0]
    points = CurveFeed(context).points({"name": "reward", "axis": "time", "runs": [run.id]})
    assert points[run.id][0] == [0.0, 1.0, 1.0, 2.0]


def test_long_runs_are_thinned_and_keep_their_peaks(context: AppContext, new_run: Callable[..., Run]) -> None:
    run = new_run()
    for step in range(1, 3001):
        run.append_metrics(step, {"loss": 100.0 if step == 1234 else 1.0})
    steps, values = curve(CurveFeed(context).news({}), run, "loss")
    assert len(steps) < 700 and max(values) == 100.0 and steps[-1] == 3000


def test_every_point_can_be_had(context: AppContext, new_run: Callable[..., Run]) -> None:
    long, short, feed = new_run(), new_run(3), CurveFeed(context)
    for step in range(1, 3001):
        long.append_metrics(step, {"loss": 1 / step})
    found = feed.points({"runs": [long.id, short.id, "gone"], "name": "loss", "axis": "step"})
    assert list(found) == [long.id, short.id] and len(found[long.id][0]) == 3000
    assert found[short.id] == [[1, 2, 3], [1, 1 / 2, 1 / 3]], "as they were logged"
    assert feed.points({"runs": [long.id, short.id], "name": "reward", "axis": "time"}) == {
        short.id: [[0, 1, 2], [0.1, 0.2, 0.3]]
    }


def test_metrics_come_in_groups() -> None:
    names = {"reward", "rewards/mini/mean", "rewards/mini/std", "watch/held_out/seam", "samples/total", "epoch", "at"}
    names |= {"monitor/seam", "monitor/t_lpips", "samples/held_out/seam", "ratio/spread", "clip_ratio", "strange"}
    found = {group["key"]: [chart["name"] for chart in group["charts"]] for group in grouped(names)}
    assert found == {
        "trained": ["reward", "rewards/mini/mean"],
        "held_out": ["watch/held_out/seam"],
        "monitor": ["monitor/t_lpips", "monitor/seam"],
        "samples_held_out": ["samples/held_out/seam"],
        "samples": ["samples/total"],
        "policy": ["ratio/spread", "clip_ratio", "rewards/mini/std"],
        "other": ["strange"],
    }
    assert set(text.GROUPS) == set(GROUPS)
    assert text.metric("watch/held_out/fvd_lite", reward_titles()) == "FVD-lite"
    assert text.metric("rewards/flow_smoothness/std", reward_titles()) == "Flow smoothness std"
    assert text.metric("kl/first_step", {}) == "Kl first step"


def test_alarms_are_placed_on_both_axes(context: AppContext, new_run: Callable[..., Run]) -> None:
    run, feed = new_run(3), CurveFeed(context)
    assert feed.news({})["alarms"] == {run.id: []}
    run.append_alarm(Alarm(step=2, name="motion", sentence="Motion fell.", value=0.1, limit=0.2))
    (alarm,) = feed.news({})["alarms"][run.id]
    assert (alarm["step"], alarm["time"], alarm["sentence"]) == (2, 1.0, "Motion fell.")


def test_the_state_of_a_run(context: AppContext, new_run: Callable[..., Run]) -> None:
    """A run is running while a process holds its lock, even if that process rarely writes."""
    held, old, done, queued = new_run(1), new_run(1), new_run(1), new_run()
    trainer = try_lock(held.lock)
    assert trainer is not None
    done.adapter.mkdir()
    context.queue.submit(JobSpec.train(queued.id))
    feed = CurveFeed(context)

    def states() -> dict[str, str]:
        return {card["id"]: card["state"] for card in feed.news({})["runs"]}

    assert states() == {held.id: "running", old.id: "stopped", done.id: "done", queued.id: "queued"}
    os.close(trainer)
    assert states()[held.id] == "stopped"


def test_a_run_that_fell_back_to_an_older_checkpoint_says_so(context: AppContext, new_run: Callable[..., Run]) -> None:
    run, other = new_run(3), new_run(3)
    for step in (1, 2):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for name in ("trainer_state.json", "scheduler.pt", "optimizer.pt", "trained.safetensors", "rng_state.pth"):
            (folder / name).write_text("{}")
        write_manifest(folder)
    (run.checkpoints / "checkpoint-2" / "optimizer.pt").unlink()
    run.series.newest_whole()
    sentence = "The checkpoint of step 2 was damaged (optimizer.pt is missing): the run resumed from step 1."
    cards = {card["id"]: card["where"] for card in CurveFeed(context).news({"runs": [run.id, other.id]})["runs"]}
    assert cards == {run.id: f"3/9. {sentence}", other.id: "3/9"}
    rows = {row["id"]: row["problem"] for row in run_list(context)["runs"]}
    assert rows == {run.id: sentence, other.id: ""}
    assert run_state(context.queue, run.id).note == sentence


def test_runs_that_nobody_knows_are_not_drawn(context: AppContext, new_run: Callable[..., Run]) -> None:
    run = new_run(1)
    news = CurveFeed(context).news({"runs": ["gone", run.id, "../x"], "looked": "gone"})
    assert news["chosen"] == [run.id] and news["looked"] == run.id


# ---- Samples
@pytest.fixture
def sampled(new_run: Callable[..., Run]) -> Run:
    """A run with the base's set and two more, of two prompts."""
    run = new_run(4)
    requests = [GenerationRequest(prompt=prompt, seed=seed) for seed, prompt in enumerate(("a ball", "a star"))]
    kept = RunSamples(run)
    kept.keep_requests(requests)
    for step in (None, 2, 4):
        frames = np.full((9, 32, 32, 3), 10 * (step or 0), np.uint8)
        clips = [Clip(frames=frames, fps=8.0, prompt=request.prompt) for request in requests]
        kept.save(step, clips, [request.seed for request in requests], [None, None])
    return run


def test_the_slider_stands_at_the_newest_or_where_it_was(sampled: Run) -> None:
    value = samples.slider(sampled)
    assert [one["label"] for one in value["sets"]] == ["Step 2", "Step 4"]
    assert (value["set"], value["prompts"], value["can_ask"]) == (1, ["1. a ball", "2. a star"], True)
    assert samples.slider(sampled, "00000002", 1)["set"] == 0
    assert samples.slider(sampled, "gone", 9)["prompt"] == 1


def test_the_base_is_beside_the_checkpoint(sampled: Run) -> None:
    player, bars = samples.shown(sampled, samples.slider(sampled, "00000002", 1))
    assert [clip["name"] for clip in player["clips"]] == ["Base", "Step 2"]
    assert player["clips"][1]["url"] == f"/media/runs/{sampled.id}/00000002/1.mp4"
    assert player["prefetch"] == [f"/media/runs/{sampled.id}/{name}/1.mp4" for name in ("00000002", "00000004")]
    assert bars is None
    assert samples.files(player)[1] == {
        "label": "Download Step 2",
        "url": f"/media/runs/{sampled.id}/00000002/1.mp4",
        "file": f"{sampled.id}-00000002-1.mp4",
    }


def test_a_run_without_samples_says_why(new_run: Callable[..., Run]) -> None:
    assert samples.slider(new_run())["note"] == text.SAMPLES_WORDS["empty"]
    assert samples.slider(new_run(sample_clips=0))["note"] == text.SAMPLES_WORDS["off"]


def test_sample_now_asks_the_process_or_files_a_job(context: AppContext, sampled: Run, open_tab: Any) -> None:
    monitor = open_tab(lambda tab: MonitorTab(context, tab))
    trainer = try_lock(sampled.lock)
    assert trainer is not None
    asked, _ = monitor.sample_now(samples.slider(sampled), gr.EventData(None, {"run": sampled.id}))
    assert asked["note"] == text.SAMPLES_WORDS["asked"] and RunSamples(sampled).take_request()
    os.close(trainer)
    sampled.adapter.mkdir()
    _, jobs = monitor.sample_now(samples.slider(sampled), gr.EventData(None, {"run": sampled.id}))
    assert not RunSamples(sampled).take_request()
    (submitted,) = context.queue.list(kind="samples")
    assert submitted.config == {"run": sampled.id} and jobs["active"] == [submitted.id]


# ---- Files and Trackio
def test_samples_are_served_and_asked_for_again(context: AppContext, sampled: Run) -> None:
    server = FastAPI()
    server.include_router(media_routes(context))
    address = f"/media/runs/{sampled.id}/00000002/0.mp4"
    with TestClient(server) as client:
        reply = client.get(address)
        assert reply.status_code == 200 and reply.headers["content-type"] == "video/mp4"
        assert reply.headers["cache-control"] == "private, no-cache"
        assert client.get(address, headers={"if-none-match": reply.headers["etag"]}).status_code == 304
        for run, name, sample in (
            (sampled.id, "00000002", "set.json"),
            ("gone", "base", "0.mp4"),
            (sampled.id, "..%2F..%2Fruns", "0.mp4"),
        ):
            assert client.get(f"/media/runs/{run}/{name}/{sample}").status_code == 404, (run, name, sample)


def test_trackio_is_linked_once_it_holds_a_run(context: AppContext) -> None:
    assert trackio_link(context.workspace) == ""
    context.workspace.trackio.mkdir()
    (context.workspace.trackio / "dailies.db").touch()
    assert 'href="/trackio/' in trackio_link(context.workspace)


# ---- Curricula
CURRICULUM = CurriculumPreset.model_validate(
    {
        "key": "longer",
        "title": "Longer and longer",
        "stages": [
            {
                "name": name,
                "preset": "mini_nft",
                "frames": frames,
                "gate": {"conditions": [{"metric": "seam", "at_least": 0.5}]},
            }
            for name, frames in (("short", 17), ("middle", 33), ("long", 65))
        ],
    }
)


def test_a_curriculum_is_a_strip_of_stages(context: AppContext) -> None:
    made = Curriculum.create(context.workspace, CURRICULUM)
    passed = GateResult(
        verdict="pass",
        action="advance",
        sentence="It holds.",
        conditions=(
            ConditionResult(
                wanted="seam >= 0.5", measured=Interval(mean=0.6, low=0.55, high=0.65, of=16), verdict="pass"
            ),
        ),
    )
    attempts = (
        AttemptRecord(stage=0, attempt=0, run="r-1", num_frames=17, result=passed),
        AttemptRecord(stage=1, attempt=0, run="r-2", num_frames=33),
    )
    made.save(CurriculumState(stage=1, attempts=attempts, sentence="Training."))
    (shown,) = curriculum_progress.curriculum_list(context)["curricula"]
    assert [one["state"] for one in shown["stages"]] == ["done", "now", "later"]
    assert shown["stages"][0]["gate"] == [
        {"wanted": "seam >= 0.5", "measured": "0.600 (0.550 to 0.650, 16 prompts)", "verdict": "pass"}
    ]
    assert "r-2" in shown["stages"][1]["detail"] and shown["stages"][2]["gate"][0]["measured"] == ""
    made.save(CurriculumState(status="stopped", stage=1, attempts=attempts, sentence="It failed."))
    (stopped,) = curriculum_progress.curriculum_list(context)["curricula"]
    assert [one["state"] for one in stopped["stages"]] == ["done", "failed", "later"] and not stopped["running"]


def test_a_curriculum_that_nobody_drives_is_resumed_with_one_click(context: AppContext) -> None:
    """After a reboot, the state is still "running" although the job is lost."""
    curriculum = Curriculum.create(context.workspace, CURRICULUM)
    assert [one["can_resume"] for one in curriculum_progress.curriculum_list(context)["curricula"]] == [True]
    driver = try_lock(curriculum.lock)
    assert driver is not None
    assert [one["can_resume"] for one in curriculum_progress.curriculum_list(context)["curricula"]] == [False], (
        "somebody drives it in a shell"
    )
    os.close(driver)
    curriculum_progress.resume(context, curriculum.id)
    assert [one["can_resume"] for one in curriculum_progress.curriculum_list(context)["curricula"]] == [False]
    job = context.queue.claim(ProcessIdentity.current())
    assert job is not None and job.config == {"curriculum": curriculum.id}
    context.queue.finish(job.id, "lost")
    assert [one["can_resume"] for one in curriculum_progress.curriculum_list(context)["curricula"]] == [True]
    with pytest.raises(ConfigError, match="There is no curriculum"):
        curriculum_progress.resume(context, "../..")


def test_a_damaged_curriculum_says_so(context: AppContext) -> None:
    made = Curriculum.create(context.workspace, CURRICULUM)
    Path(made.state_file).write_text("{")
    (shown,) = curriculum_progress.curriculum_list(context)["curricula"]
    assert "damaged" in shown["sentence"] and shown["stages"] == []
