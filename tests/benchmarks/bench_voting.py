"""Voting in a browser: how long a vote takes to be stored, and how soon the next pair plays after the key.

Bars, medians over 40 votes on two cores: 25 ms from sending a vote to the answer that it is stored, 150 ms from the key
until both clips of the next pair play.
"""

import statistics
import sys
from pathlib import Path

import numpy as np
from measurement import report
from playwright.sync_api import Page
from served_page import chromium, scratch_workspace, started_app, wait_until_served

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.request import GenerationRequest
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace
from rewards.clip import Clip

VOTE_MS, PLAYING_MS = 25.0, 150.0
NUM_CLIPS, NUM_FRAMES, NUM_VOTES = 12, 81, 40
READY = "document.querySelector('#label-desk .is-ready')"
# From the key until both videos of another pair have moved on from their first picture.
WATCH = """() => {
  const player = document.querySelector('#label-desk [id^=html]').player;
  window.waits = [];
  document.addEventListener('keydown', () => {
    const pressed = performance.now(), turn = player.state.turn;
    const look = () => {
      const { videos, turn: now } = player.state;
      if (now !== turn && videos.length === 2 && videos.every(video => !video.paused && video.currentTime > 0))
        window.waits.push(performance.now() - pressed);
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, true);
}"""
SENT = (
    "performance.getEntriesByType('resource').filter(one => one.name.endsWith('/voting/vote')).map(one => one.duration)"
)


def fill(workspace: Workspace) -> None:
    """A campaign of clips that are all different, so that none is in the browser already."""
    store = Library(workspace)
    rng = np.random.default_rng(0)
    ids = []
    for seed in range(NUM_CLIPS):
        request = GenerationRequest(prompt="a red circle", seed=seed, num_frames=NUM_FRAMES)
        frames = rng.integers(0, 256, (NUM_FRAMES, 16, 16, 3), np.uint8).repeat(16, axis=1).repeat(16, axis=2)
        save_clip(workspace, request.id, Clip(frames=frames, fps=16.0, prompt=request.prompt), request)
        ids.append(store.add_clip(ClipRecord.generated(request)).id)
    Campaigns(store).create(CampaignSpec(title="Bench", clip_ids=tuple(ids)))
    store.close()


def vote(page: Page) -> tuple[list[float], list[float]]:
    """Milliseconds of each vote's way to the server and back, and of the next pair's way to the eye."""
    page.get_by_role("tab", name="Label", exact=True).click()
    page.locator("#label-desk .name").fill("bench")
    page.keyboard.press("Enter")
    page.wait_for_function(READY)
    page.evaluate(WATCH)
    for number in range(NUM_VOTES):
        page.wait_for_function(READY)
        page.keyboard.press("12"[number % 2])
        page.wait_for_function(f"window.waits.length === {number + 1}")
    return page.evaluate(SENT), page.evaluate("window.waits")


def main() -> int:
    with scratch_workspace() as folder, chromium() as browser:
        fill(Workspace(Path(folder)).prepare())
        with started_app(folder) as (address, process):
            wait_until_served(address, process)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(address)
            stored, playing = vote(page)
    within = [
        report("voting_round_trip", statistics.median(stored), "ms", bar=VOTE_MS, votes=len(stored), worst=max(stored)),
        report("voting_next_pair_plays", statistics.median(playing), "ms", bar=PLAYING_MS, worst=max(playing)),
    ]
    return int(not all(within))


if __name__ == "__main__":
    sys.exit(main())
