"""A workbench with clips whose pictures tell which clip and which frame they are, and somebody at the Label tab.

Whoever votes here prefers the clip that was made first (`order`), so that what a vote should say is known whichever
side a clip was shown on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from app.text import labelling as text
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import StoredVote
from engine.request import GenerationRequest
from engine.storage.clip_files import save_clip
from engine.storage.library import ClipRecord, Library
from rewards import Clip

PROMPT = "a red circle moving left <img src=x onerror=alert(1)> {{words.x}} ${alert(2)}"
NUM_FRAMES, STEP = 33, 7
DESK = "#label-desk .label-desk"
PLAYER = "document.querySelector('#label-desk [id^=html]').player"
SENT = "!Object.keys(localStorage).some(name => name.startsWith('dailies.vote.'))"


def grey_of(index: int, frame: int) -> int:
    """Of a clip's frame: clips begin at other greys, and every other one runs backwards."""
    return 2 * index + STEP * (frame if index % 2 == 0 else NUM_FRAMES - 1 - frame)


def add_clip(store: Library, index: int) -> ClipRecord:
    request = GenerationRequest(prompt=PROMPT, seed=index, num_frames=NUM_FRAMES)
    levels = np.array([grey_of(index, frame) for frame in range(NUM_FRAMES)], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (NUM_FRAMES, 64, 64, 3)).copy()
    save_clip(store.workspace, request.id, Clip(frames=frames, fps=8.0, prompt=PROMPT), request)
    return store.add_clip(ClipRecord.generated(request))


@pytest.fixture(scope="session")
def fill() -> Callable[[Any], None]:
    """`fill(bench)`: eight clips in its library."""

    def add_all(bench: Any) -> None:
        store = Library(bench.workspace)
        for index in range(8):
            add_clip(store, index)
        store.close()

    return add_all


@pytest.fixture(scope="session")
def bench(new_workbench: Callable[..., Any], fill: Callable[[Any], None]) -> Any:
    """Without a login, one for all tests here; each makes a campaign of its own."""
    bench = new_workbench(stays=True)
    fill(bench)
    bench.start()
    return bench


@pytest.fixture
def campaigns(bench: Any) -> Iterator[Campaigns]:
    store = Library(bench.workspace)
    yield Campaigns(store)
    store.close()


@pytest.fixture
def order(campaigns: Campaigns) -> dict[str, int]:
    """The clips' places, by id."""
    return {clip.id: clip.seed or 0 for clip in campaigns.store.clips()}


@pytest.fixture
def campaign(campaigns: Campaigns, order: dict[str, int]) -> str:
    spec = CampaignSpec(
        title="Takes", clip_ids=tuple(sorted(order)), axes=("motion",), labellers_per_pair=20, repeat_share=0.2
    )
    return campaigns.create(spec).id


@dataclass
class Labelling:
    """Somebody who votes in a campaign on a page."""

    page: Page
    bench: Any
    campaigns: Campaigns
    campaign: str
    order: dict[str, int]
    watched: Any
    greys_of: Callable[[Page, str], list[int]]

    def arrive(self, name: str | None = "anna") -> None:
        """Open the Label tab; without a name as whoever was there before."""
        with self.watched.leaving():
            self.page.goto(f"{self.bench.address}?campaign={self.campaign}")
        self.page.get_by_role("tab", name=text.LABEL, exact=True).click()
        if name is not None:
            self.page.locator("#label-desk .name").fill(name)
            self.page.keyboard.press("Enter")
        self.ready()

    def ready(self, but: str = "") -> str:
        """The key of the pair that can be voted on, when it is another one than `but`."""
        told = f"(but) => ![but, '', undefined].includes(document.querySelector('{DESK}')?.dataset.pair)"
        self.page.wait_for_function(told, arg=but)
        return str(self.page.locator(DESK).get_attribute("data-pair"))

    def shown(self) -> list[str]:
        """The clips that are shown, the left one first."""
        told = str(self.page.evaluate(f"{PLAYER}.state.clips[0].id"))  # the page itself does not know the clips' names
        return [self.clip_of(told), self.clip_of(told.replace("left", "right"))]

    def clip_of(self, blind: str) -> str:
        """The clip behind a side's id, such as "7-left"."""
        showing, _, side = blind.partition("-")
        one = self.campaigns.assignment(int(showing), None)
        return str({"left": one.left_clip, "right": one.right_clip}[side])

    def press(self, key: str) -> str:
        """Vote by a key; the pair that comes next."""
        before = self.ready()
        self.page.keyboard.press(key)
        return self.ready(but=before)

    def prefer(self) -> str:
        """Vote for the better clip by its key; the pair that comes next."""
        self.ready()
        left, right = self.shown()
        return self.press("1" if self.order[left] < self.order[right] else "2")

    def votes(self, count: int) -> list[StoredVote]:
        """All votes there ever were, `count` of which stand."""
        self.page.wait_for_function(SENT)
        found = self.campaigns.votes(self.campaign, history=True)
        assert sum(one.ended_as is None for one in found) == count
        return found

    def is_right(self, one: StoredVote) -> bool:
        """Whether the vote is for the better clip."""
        return one.winner == min(one.left_clip, one.right_clip, key=self.order.__getitem__)

    def sent(self) -> None:
        self.page.wait_for_function(SENT)

    def say(self, script: str) -> Any:
        """What a script says of the player."""
        return self.page.evaluate(f"{PLAYER}.{script}")

    def until(self, script: str) -> None:
        """Wait until something is so of the player."""
        self.page.wait_for_function(f"{PLAYER}.{script}")

    def greys(self) -> list[int]:
        """The pictures that the players' videos hold now."""
        return self.greys_of(self.page, "#label-desk video")


@pytest.fixture
def desk(
    page: Page,
    bench: Any,
    campaigns: Campaigns,
    campaign: str,
    order: dict[str, int],
    watched: Any,
    greys: Callable[[Page, str], list[int]],
) -> Labelling:
    return Labelling(page, bench, campaigns, campaign, order, watched, greys)


@pytest.fixture(scope="session")
def grey() -> Callable[[int, int], int]:
    return grey_of


@pytest.fixture(scope="session")
def prompt() -> str:
    return PROMPT
