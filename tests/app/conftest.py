"""A context on the test's workspace, and synthetic clips in it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app.context import AppContext
from engine.config.presets import load_preset
from engine.jobs.queue import JobQueue
from engine.request import GenerationRequest
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from rewards import Clip, RewardReport, RewardResult
from rewards.calibration import mix_calibration

MakeClip = Callable[..., ClipRecord]


@pytest.fixture
def context(store: Library) -> AppContext:
    return AppContext(store=store, queue=JobQueue(store))


@pytest.fixture
def open_tab() -> Callable[[Callable[[gr.Tab], Any]], Any]:
    """`open_tab(lambda tab: ScoreTab(context, tab))`: a tab in a page of its own. Gradio wants a running event loop."""

    async def build(make: Callable[[gr.Tab], Any]) -> Any:
        with gr.Blocks(), gr.Tab("Test") as tab:
            return make(tab)

    return lambda make: asyncio.run(build(make))


@pytest.fixture
def report() -> Callable[[str, float], RewardReport]:
    """`report(clip_id, value)`: a reward with a value and a series, and one that does not apply."""

    def build(clip_id: str, value: float) -> RewardReport:
        series = np.array([np.nan, *np.linspace(0, 1, 8)])
        results = {
            "flow_smoothness": RewardResult(value=value, raw=1.25, per_frame=series),
            "loop_break": RewardResult(value=None, reason="the clip is shorter than two loops"),
        }
        return RewardReport(
            clip_id=clip_id,
            mix="mini",
            results=results,
            weights={"flow_smoothness": 1.0},
            gates={"motion": 0.4, "sharpness": 1.0, "cut": 1.0},
            total=value,
            seconds={},
            calibration=mix_calibration(load_preset("rewards", "mini")),
            notes=("loop_break does not apply here; the other rewards share its weight.",),
        )

    return build


@pytest.fixture
def make_clip(context: AppContext, report: Callable[[str, float], RewardReport]) -> MakeClip:
    """`make_clip(prompt=..., seed=..., score=..., files=...)`: a clip in the library."""

    def make(
        *, score: float | None = 0.5, files: bool = False, changes: dict[str, Any] | None = None, **request: Any
    ) -> ClipRecord:
        made = GenerationRequest(**{"prompt": "a red circle", "num_frames": 9, **request})
        record = context.store.add_clip(replace(ClipRecord.generated(made), **(changes or {})))
        if files:
            frames = np.random.default_rng(made.seed).integers(0, 256, (9, 64, 64, 3), np.uint8)
            save_clip(context.workspace, record.id, Clip(frames=frames, fps=8.0, prompt=made.prompt), made)
        if score is not None:
            context.store.save_report(record.id, "mini", report(record.id, score).to_dict())
        return context.store.clip(record.id)

    return make
