"""Scoring with a server: what is scored again, and calls at the same time."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS
from engine.jobs.spec import JobSpec
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.video.writer import write_lossless
from rewards.clip import Clip
from rewards.external.registry import close_external
from tests.reward_server import reward_server

MIX = 'title = "Mine"\ncalibration = "mini"\n[weights]\njudge = 1\nframing = {framing}\n'


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "presets"
    for kind in ("rewards", "external_rewards"):
        (folder / kind).mkdir(parents=True)
    (folder / "rewards" / "mine.toml").write_text(MIX.format(framing=1))
    monkeypatch.setenv("DAILIES_PRESETS", str(folder))
    return folder


def test_missing_scores_other_weights_and_other_models_are_scored_again(
    presets: Path, store: Library, tmp_path: Path
) -> None:
    videos, state = tmp_path / "videos", {"status": 503, "score": 0.2, "model": "one"}
    videos.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    write_lossless(videos / "a.mkv", frames, 8.0)

    def behaviour(body: dict[str, Any]) -> tuple[int, Any]:
        results = [{"score": state["score"]} for _ in body["clips"]]
        return state["status"], {"model": state["model"], "version": "1", "results": results}

    def scored() -> dict[str, Any]:
        """Score the folder; return the report, with the number of calls about the clip."""
        calls = len(server.requests)
        steps = KINDS["score_folder"].start(JobSpec.score_folder(videos, "a", "mine").config, JobContext(store=store))
        try:
            while True:
                next(steps)
        except StopIteration as end:
            (clip,) = end.value["clip_ids"]
        asked = [clip["prompt"] for body in server.requests[calls:] for clip in body["clips"]]
        return {**store.report(clip, "mine"), "calls": asked.count("a")}

    with reward_server(behaviour) as server:
        text = f'title = "Judge"\n[http]\nurl = "{server.url}"\nattempts = 1\n'
        (presets / "external_rewards" / "judge.toml").write_text(text)
        down = scored()
        assert "judge" in down["missing"] and down["total"] is None and down["calls"] == 1
        state["status"] = 200
        up = scored()
        assert not up["missing"] and up["results"]["judge"]["value"] == 0.2 and up["calls"] == 1
        assert scored() == {**up, "calls": 0}
        (presets / "rewards" / "mine.toml").write_text(MIX.format(framing=0))
        assert scored()["total"] != up["total"]
        state |= {"model": "two", "score": 0.8}
        assert scored()["results"]["judge"] == {**up["results"]["judge"], "value": 0.8, "raw": 0.8, "backend": "two 1"}
        state["status"] = 503
        assert scored()["calls"] == 0, "a server that is away takes no scores away"
    close_external()


def test_the_clips_of_a_job_are_scored_at_the_same_time(presets: Path, store: Library) -> None:
    """Four calls that each wait for all four can only be answered if they overlap."""
    barrier, ids = threading.Barrier(4, timeout=20), [f"{number:016x}" for number in range(4)]
    for number, clip_id in enumerate(ids):
        frames = np.random.default_rng(number).integers(0, 256, (9, 32, 32, 3), np.uint8)
        save_clip(store.workspace, clip_id, Clip(frames=frames, fps=8.0, prompt="a"))
        shape = {"num_frames": 9, "width": 32, "height": 32, "fps": 8.0}
        store.add_clip(ClipRecord(id=clip_id, prompt="a", source="imported", **shape))

    def together(body: dict[str, Any]) -> tuple[int, Any]:
        barrier.wait()
        return 200, {"results": [{"score": 0.25}]}

    with reward_server(together) as server:
        text = f'title = "Judge"\n[http]\nurl = "{server.url}"\nattempts = 1\n'
        (presets / "external_rewards" / "judge.toml").write_text(text)
        steps = KINDS["score"].start(JobSpec.score(ids, "mine").config, JobContext(store=store))
        assert [(step.step, step.of) for step in steps] == [(0, 4)]
    reports = store.reports(ids, "mine")
    assert [reports[clip_id]["results"]["judge"]["value"] for clip_id in ids] == [0.25] * 4
    close_external()
