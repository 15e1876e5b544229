"""Two workbenches to walk through: one in which there is something of everything, and one that is empty; and axe-core,
which looks at what is on the page.

Nothing works in the background there: the queue is paused, so what a test sees stays as it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect

from app.text import general, labelling, monitor, system, training
from engine.config.presets import load_curriculum, load_preset, load_train_preset
from engine.families.lora_files import WEIGHTS_FILE
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.adapters import AdapterCard, write_card
from engine.runs.curriculum_state import Curriculum
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from rewards import Clip, RewardReport, RewardResult
from rewards.calibration import mix_calibration

NUM_FRAMES, STEPS = 17, 12
PROMPTS = ("a large red circle moving left over a meadow", "a yellow star bouncing at night, looping")
REWARDS = ("flow_smoothness", "structure_constancy", "t_lpips", "clip_vid", "aesthetic")


# ---- What lies in the furnished workbench
def drawn(prompt: str, index: int) -> Clip:
    """A square that wanders over a plain ground."""
    frames = np.full((NUM_FRAMES, 64, 64, 3), (200, 205, 190), np.uint8)
    for frame in range(NUM_FRAMES):
        left = 4 + 2 * frame if index % 2 else 40 - 2 * frame
        frames[frame, 20 + 2 * index : 40 + 2 * index, max(0, left) : left + 18] = (190, 60 + 12 * index, 50)
    return Clip(frames=frames, fps=8.0, prompt=prompt)


def report(clip_id: str, score: float) -> RewardReport:
    levels = np.clip(score + np.linspace(-0.2, 0.2, len(REWARDS)), 0, 1)
    results = {
        key: RewardResult(value=float(level), raw=0.4, per_frame=np.linspace(level, 1 - level, NUM_FRAMES))
        for key, level in zip(REWARDS, levels, strict=True)
    }
    results["loop_break"] = RewardResult(value=None, reason="the clip is too short")
    return RewardReport(
        clip_id=clip_id,
        mix="mini",
        results=results,
        weights=dict.fromkeys(REWARDS, 0.2),
        gates={"motion": 0.6, "sharpness": 1.0, "cut": 1.0},
        total=score,
        seconds={},
        calibration=mix_calibration(load_preset("rewards", "mini")),
    )


def add_clips(store: Library, adapter: str) -> list[ClipRecord]:
    """Four takes of each prompt, every other one with an adapter, most of them scored, one starred."""
    made = []
    for index in range(8):
        prompt = PROMPTS[index % 2]
        own = adapter if index // 2 % 2 else None
        request = GenerationRequest(prompt=prompt, seed=100 + index, num_frames=NUM_FRAMES, adapter=own)
        save_clip(store.workspace, request.id, drawn(prompt, index), request)
        made.append(store.add_clip(ClipRecord.generated(request)))
        if index != 1:
            store.save_report(request.id, "mini", report(request.id, 0.2 + index / 10).to_dict())
    store.star([made[0].id], True)
    return made


CAMPAIGN = "Takes of mini"


def add_campaign(store: Library, clips: list[ClipRecord]) -> None:
    """Votes of two people who like later clips better, and pairs that are left to vote on."""
    campaigns, place = Campaigns(store), {clip.id: index for index, clip in enumerate(clips)}
    ids = tuple(clip.id for clip in clips)
    campaign = campaigns.create(CampaignSpec(title=CAMPAIGN, clip_ids=ids, axes=("motion",), labellers_per_pair=3))
    for labeller in ("anna", "ben"):
        for number in range(6):
            (asked, *_) = campaigns.next_pairs(campaign.id, labeller, 1)
            campaigns.vote(
                Vote(
                    pair_id=asked.pair_id,
                    labeller=labeller,
                    choice="left" if place[asked.left_clip] > place[asked.right_clip] else "right",
                    shown_left=asked.left_clip,
                    client_uuid=f"{labeller}-{number}-walk",
                    ms=4000,
                )
            )


def add_run(store: Library) -> Run:
    """A finished run with curves, an alarm, samples and an adapter."""
    run = Run.create(store.workspace, load_train_preset("mini_nft"))
    for step in range(1, STEPS + 1):
        values = {"loss": 1 / step, "reward": step / 20, "rewards/clip_vid/mean": step / 30, "grad_norm": 1.0}
        run.append_metrics(step, {**values, "at": 1e9 + 60 * step, "of": STEPS})
    run.append_alarm(Alarm(step=5, name="motion", sentence="Motion fell by half.", value=0.1, limit=0.2))
    requests = [GenerationRequest(prompt=prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]
    kept = RunSamples(run)
    kept.keep_requests(requests)
    for step in (None, 6, STEPS):
        clips = [drawn(one.prompt, index) for index, one in enumerate(requests)]
        reports = [report("", 0.4 + (step or 0) / 40).to_dict() for _ in requests]
        kept.save(step, clips, [one.seed for one in requests], reports)
    run.adapter.mkdir()
    folder = store.workspace.adapters / run.id
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(b"0")
    write_card(folder, AdapterCard(model="mini"))
    return run


def end(queue: JobQueue, spec: JobSpec, status: Any, **how: Any) -> None:
    """A job that was worked on and is over."""
    queue.submit(spec)
    job = queue.claim(ProcessIdentity.current())
    assert job is not None
    queue.finish(job.id, status, **how)


def furnish(store: Library) -> None:
    """Clips, votes, a run, a curriculum, and jobs that failed, ended and wait."""
    queue = JobQueue(store)
    clips = add_clips(store, add_run(store).id)
    add_campaign(store, clips)
    Curriculum.create(store.workspace, load_curriculum("mini_lengths"))
    takes = [clip for clip in clips if clip.prompt == PROMPTS[0]]
    made = JobSpec.generate([GenerationRequest(**(clip.request or {})) for clip in takes], "mini")
    end(queue, made, "done", result={"clip_ids": [clip.id for clip in takes]})
    end(queue, JobSpec.score([clips[1].id], "mini"), "failed", error="The weights of clip_vid are not here.")
    queue.pause()
    queue.submit(JobSpec.generate([GenerationRequest(prompt=PROMPTS[1], seed=7, num_frames=NUM_FRAMES)], "mini"))
    queue.submit(JobSpec.train(Run.create(store.workspace, load_train_preset("mini_dpo")).id))


@pytest.fixture(scope="session")
def furnished(new_workbench: Callable[..., Any]) -> Any:
    bench = new_workbench(stays=True)
    store = Library(bench.workspace)
    furnish(store)
    store.close()
    bench.start()
    return bench


@pytest.fixture(scope="session")
def empty(new_workbench: Callable[..., Any]) -> Any:
    bench = new_workbench(stays=True)
    bench.start()
    return bench


# ---- Walking
Way = tuple[str, ...]
VOTE, RESULTS, NEW = labelling.VOTE, labelling.RESULTS, labelling.NEW
PLACES: dict[str, tuple[Way, str, str]] = {
    "generate": ((general.GENERATE,), "#generate-bars .js-plotly-plot", "#generate-welcome .greeting"),
    "score": ((general.SCORE,), "#score-radar .js-plotly-plot", "#score-table .empty"),
    "vote": ((labelling.LABEL, VOTE), "#label-desk .votes button", "#label-desk .nothing"),
    "results": ((labelling.LABEL, RESULTS), "#label-rewards .js-plotly-plot", "#label-sheet .empty"),
    "campaign": ((labelling.LABEL, NEW), "#create-campaign", "#create-campaign"),
    "library": ((general.LIBRARY,), "#library-bars .js-plotly-plot", "#library-grid .empty"),
    "train": ((training.TRAIN,), "#train-board .run", "#train-board .empty"),
    "monitor": ((monitor.MONITOR,), "#monitor-bars .js-plotly-plot", "#monitor-curves .empty"),
    "system": ((system.SYSTEM,), "#system-telemetry .device", "#system-telemetry .device"),
    "labellers": ((), "#label-desk .votes button", "#label-desk .nothing"),
}
"""The tabs to press, and what is there once a place is ready: in a workspace with content, in an empty one."""


@dataclass
class Walker:
    """Somebody who goes from place to place."""

    page: Page
    bench: Any
    is_empty: bool
    watched: Any
    arrived: str = field(default="", init=False)

    def go(self, place: str) -> None:
        """Be at a place, with a clip opened where there are any."""
        way, full, bare = PLACES[place]
        address = f"{self.bench.address}label/" if place == "labellers" else self.bench.address
        if self.arrived != address:
            with self.watched.leaving():
                self.page.goto(address)
            self.arrived = address
        for tab in way:
            self.page.get_by_role("tab", name=tab, exact=True).click()
        if not self.is_empty:
            self._open(place)
        expect(self.page.locator(bare if self.is_empty else full).first).to_be_visible()

    def _open(self, place: str) -> None:
        page = self.page
        if place in ("score", "library"):
            page.locator("#score-table td.clip a" if place == "score" else "#library-grid .thumb").first.click()
        if place in ("vote", "labellers"):
            expect(page.locator("#label-desk .who, #label-desk .voting").filter(visible=True).first).to_be_visible()
            if page.locator("#label-desk .name").is_visible():
                page.locator("#label-desk .name").fill("cara")
                page.keyboard.press("Enter")
            # The page shows the newest campaign, which may be one that another test has made and voted on.
            campaigns = page.locator("#label-desk").get_by_role("combobox", name="Campaign")
            if campaigns.is_visible():
                campaigns.select_option(label=CAMPAIGN)
        if place == "results":  # as above
            page.locator("#label-campaign input").click()
            page.get_by_role("option", name=CAMPAIGN).click()
        if place == "monitor":
            page.locator("#monitor-curves .pick", has_text="mini_nft").click()
            page.locator('#monitor-curves button[data-view="samples"]').click()


@dataclass(frozen=True)
class Look:
    width: int
    scheme: str

    @property
    def context(self) -> dict[str, Any]:
        """Options of a browser of this width and theme; a narrow one is a phone."""
        phone = {"has_touch": True, "is_mobile": True} if self.width < 500 else {}
        size = {"width": self.width, "height": 844 if phone else 900}
        return {"viewport": size, "color_scheme": self.scheme, "reduced_motion": "reduce", **phone}


PHONE = Look(390, "light")
LOOKS = [Look(1280, "light"), Look(1920, "dark"), PHONE]  # no colour depends on the width


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look.width}-{look.scheme}")
def look(request: pytest.FixtureRequest) -> Look:
    return request.param


@pytest.fixture(params=["furnished", "empty"])
def walker(
    request: pytest.FixtureRequest, browser: Browser, watched: Any, look: Look, furnished: Any, empty: Any
) -> Iterator[Walker]:
    """In each width and each theme, with content and without."""
    is_empty = request.param == "empty"
    context = browser.new_context(**look.context)
    context.set_default_timeout(120_000)
    page = context.new_page()
    watched.watch(page)
    yield Walker(page, empty if is_empty else furnished, is_empty, watched)
    with watched.leaving():
        context.close()


@pytest.fixture(scope="session")
def places() -> tuple[str, ...]:
    return tuple(PLACES)


RUN_AXE = """() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa"], resultTypes: ["violations"] })
  .then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map((node) => [id, node.target.join(" ")])))"""


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], list[list[str]]]:
    """`axe(page)`: what violates WCAG's levels A and AA there, each as [rule, selector]."""

    def run(page: Page) -> list[list[str]]:
        page.evaluate(AXE_SCRIPT)
        return list(page.evaluate(RUN_AXE))

    return run
