"""Labelling in a browser: every vote is in the database as it was meant, whatever happens meanwhile."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app import text_label as text
from engine.data.campaign_spec import CampaignSpec
from engine.data.campaigns import Campaigns
from engine.data.clip_files import save_clip
from engine.data.store import ClipRecord, Store
from engine.data.votes import StoredVote
from engine.generation.request import GenerationRequest
from rewards import Clip

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PROMPT = "a red circle moving left <img src=x onerror=alert(1)> {{words.x}} ${alert(2)}"
NUM_FRAMES, STEP = 33, 7
DESK = "#label-desk .label-desk"
PLAYER = "document.querySelector('#label-desk [id^=html]').player"
GREYS = """() => [...document.querySelectorAll('#label-desk video')].map(video => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
  const paper = canvas.getContext('2d');
  paper.drawImage(video, 0, 0, 1, 1);
  return paper.getImageData(0, 0, 1, 1).data[0];
})"""
SENT = "!Object.keys(localStorage).some(name => name.startsWith('dailies.vote.'))"


def grey_of(index: int, frame: int) -> int:
    """Of a clip's frame: clips begin at other greys, and every other one runs backwards."""
    return 2 * index + STEP * (frame if index % 2 == 0 else NUM_FRAMES - 1 - frame)


def add_clip(store: Store, index: int) -> ClipRecord:
    request = GenerationRequest(prompt=PROMPT, seed=index, num_frames=NUM_FRAMES)
    levels = np.array([grey_of(index, frame) for frame in range(NUM_FRAMES)], np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (NUM_FRAMES, 64, 64, 3)).copy()
    save_clip(store.workspace, request.id, Clip(frames=frames, fps=8.0, prompt=PROMPT), request)
    return store.add_clip(ClipRecord.generated(request))


@pytest.fixture(scope="module")
def bench(new_workbench: Any) -> Any:
    bench = new_workbench()
    store = Store(bench.workspace)
    for index in range(8):
        add_clip(store, index)
    store.close()
    bench.start()
    return bench


@pytest.fixture
def campaigns(bench: Any) -> Iterator[Campaigns]:
    store = Store(bench.workspace)
    yield Campaigns(store)
    store.close()


@pytest.fixture
def order(campaigns: Campaigns) -> dict[str, int]:
    """The clips' places: whoever votes here prefers the clip that was made first."""
    return {clip.id: clip.seed or 0 for clip in campaigns.store.clips()}


@pytest.fixture
def campaign(campaigns: Campaigns, order: dict[str, int]) -> str:
    spec = CampaignSpec(
        title="Takes", clip_ids=tuple(sorted(order)), axes=("motion",), labellers_per_pair=20, repeat_share=0.2
    )
    return campaigns.create(spec).id


def arrive(page: Page, bench: Any, campaign: str, name: str | None = "anna") -> None:
    page.goto(f"{bench.address}?campaign={campaign}")
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    if name is not None:
        page.locator("#label-desk .name").fill(name)
        page.keyboard.press("Enter")
    ready(page)


def ready(page: Page, but: str = "") -> str:
    """The key of the pair that can be voted on, when it is another one than `but`."""
    page.wait_for_function(f"(but) => ![but, ''].includes(document.querySelector('{DESK}').dataset.pair)", arg=but)
    return str(page.locator(DESK).get_attribute("data-pair"))


def shown(page: Page) -> list[str]:
    """The clips that are shown, the left one first."""
    return [str(clip) for clip in page.evaluate(f"{PLAYER}.state.clips.map(clip => clip.id)")]


def prefer(page: Page, order: dict[str, int]) -> str:
    """Vote for the better clip by its key; the pair that comes next."""
    before, (left, right) = ready(page), shown(page)
    page.keyboard.press("1" if order[left] < order[right] else "2")
    return ready(page, but=before)


def votes(campaigns: Campaigns, campaign: str, count: int, page: Page) -> list[StoredVote]:
    page.wait_for_function(SENT)
    found = campaigns.votes(campaign, history=True)
    assert sum(one.ended_as is None for one in found) == count
    return found


def test_thirty_votes_by_keyboard_alone(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str, order: dict[str, int]
) -> None:
    arrive(page, bench, campaign)
    page.keyboard.press("m")  # the rubric's axis: A is better in motion
    for number in range(30):
        before, (left, right) = ready(page), shown(page)
        if number in (4, 17):  # a slip, seen and withdrawn
            page.keyboard.press("3")
            after = ready(page, but=before)
            page.keyboard.press("u")
            assert ready(page, but=after) == before and shown(page) == [left, right]
        prefer(page, order)
    found = votes(campaigns, campaign, 30, page)
    told = [one for one in found if one.ended_as is None]
    assert [one.ended_as for one in found].count("undone") == 2
    assert {one.vote.labeller for one in told} == {"anna"} and told[0].vote.axes == {"motion": "left"}
    assert all(one.winner == min(one.left_clip, one.right_clip, key=order.__getitem__) for one in told)
    assert {one.vote.choice for one in told} == {"left", "right"}
    repeats = [one for one in told if one.is_repeat]
    first = {one.vote.pair_id: one for one in told if not one.is_repeat}
    assert len(repeats) >= 3
    assert all(first[one.vote.pair_id].left_clip == one.right_clip for one in repeats)
    assert len({one.vote.pair_id for one in told}) == 30 - len(repeats)
    assert all(one.vote.ms is not None and 0 < one.vote.ms < 600_000 for one in told)
    expect(page.locator("#label-desk .place")).to_contain_text("30 voted")


def test_every_frame_is_exact_on_both_sides(page: Page, bench: Any, campaign: str, order: dict[str, int]) -> None:
    arrive(page, bench, campaign)
    left, right = (order[clip] for clip in shown(page))
    page.evaluate(f"{PLAYER}.goTo(0)")
    wrong = []
    for frame in range(NUM_FRAMES):
        page.wait_for_function(f"{PLAYER}.state.wanted === null && {PLAYER}.state.frame === {frame}")
        greys, expected = page.evaluate(GREYS), [grey_of(left, frame), grey_of(right, frame)]
        if any(abs(got - want) > 3 for got, want in zip(greys, expected, strict=True)):
            wrong.append((frame, greys, expected))
        page.keyboard.press("ArrowRight")
    assert wrong == []


def test_models_are_told_only_after_the_vote(page: Page, bench: Any, campaign: str, order: dict[str, int]) -> None:
    arrive(page, bench, campaign)
    assert "mini" not in page.locator("#label-desk").inner_text()
    expect(page.locator("#label-desk .prompt")).to_have_text(PROMPT)
    prefer(page, order)
    expect(page.locator("#label-desk .last")).to_contain_text("mini preferred to mini")


def test_a_reload_keeps_the_place(page: Page, bench: Any, campaign: str, order: dict[str, int]) -> None:
    arrive(page, bench, campaign)
    place, sides = prefer(page, order), shown(page)
    page.wait_for_function(SENT)
    page.wait_for_load_state("networkidle")
    arrive(page, bench, campaign, name=None)
    assert (ready(page), shown(page)) == (place, sides)
    expect(page.locator("#label-desk .place")).to_contain_text("1 voted")


def test_a_killed_server_loses_no_vote_and_doubles_none(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str, order: dict[str, int], watched: Any
) -> None:
    arrive(page, bench, campaign)
    prefer(page, order)
    page.wait_for_function(SENT)
    page.wait_for_function(f"{PLAYER} && document.querySelectorAll('#label-desk video').length === 2")
    bench.kill()
    for _ in range(2):  # the next pairs are here already
        prefer(page, order)
    expect(page.locator("#label-desk .notice")).to_contain_text("2 votes are kept in this browser")
    bench.start()
    found = votes(campaigns, campaign, 3, page)
    assert all(one.winner == min(one.left_clip, one.right_clip, key=order.__getitem__) for one in found)
    page.wait_for_timeout(1000)  # Gradio loads the page again by itself
    arrive(page, bench, campaign, name=None)
    expect(page.locator("#label-desk .place")).to_contain_text("3 voted")
    watched.complaints.clear()  # of fetches while the server was away


def test_nothing_is_voted_while_typing_or_out_of_sight(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str, order: dict[str, int]
) -> None:
    arrive(page, bench, campaign)
    page.keyboard.press("n")
    page.keyboard.type("12 34 x u")
    expect(page.locator("#label-desk .note")).to_have_value("12 34 x u")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name=text.RESULTS, exact=True).click()
    page.keyboard.press("1")
    page.get_by_role("tab", name=text.VOTE, exact=True).click()
    assert campaigns.votes(campaign, history=True) == []
    prefer(page, order)
    assert votes(campaigns, campaign, 1, page)[0].vote.note == "12 34 x u"


def test_a_double_click_is_one_vote(page: Page, bench: Any, campaigns: Campaigns, campaign: str) -> None:
    arrive(page, bench, campaign)
    before = ready(page)
    page.locator("#label-desk [data-vote=tie]").dblclick()
    ready(page, but=before)
    votes(campaigns, campaign, 1, page)


def test_two_windows_of_one_labeller_vote_once(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str, order: dict[str, int], watched: Any
) -> None:
    arrive(page, bench, campaign)
    other = page.context.new_page()
    arrive(other, bench, campaign, name=None)
    assert shown(other) == shown(page)
    prefer(page, order)
    page.wait_for_function(SENT)
    prefer(other, order)
    expect(other.locator("#label-desk .notice")).to_contain_text("in another window")
    votes(campaigns, campaign, 1, page)
    watched.complaints.clear()


def test_a_pair_whose_file_is_gone_is_left_out(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str, order: dict[str, int], watched: Any
) -> None:
    gone = max(order, key=order.__getitem__)
    folder = bench.workspace.clip_folder(gone)
    hidden = folder.with_name(f"{gone}.hidden")
    arrive(page, bench, campaign)
    folder.rename(hidden)
    try:
        for _ in range(8):
            prefer(page, order)
        page.wait_for_function(SENT)
        assert len(campaigns.gone(campaign)) >= 1
        found = votes(campaigns, campaign, 8, page)
        assert len({one.vote.client_uuid for one in found}) == 8
    finally:
        hidden.rename(folder)
    watched.complaints.clear()


def test_a_votes_key_can_be_changed_and_is_kept(
    page: Page, bench: Any, campaigns: Campaigns, campaign: str, watched: Any
) -> None:
    arrive(page, bench, campaign)
    page.locator("#label-desk summary").click()
    row = page.locator("#label-desk .keyrow").filter(has_text=text.CHOICES["left"])
    row.locator("button").click()
    page.keyboard.press("h")
    page.locator("#label-desk summary").click()
    expect(page.locator("#label-desk [data-vote=left] kbd")).to_have_text("H")
    arrive(page, bench, campaign, name=None)
    watched.complaints.clear()  # of what was still loading when the page was left
    expect(page.locator("#label-desk [data-vote=left] kbd")).to_have_text("H")
    before = ready(page)
    page.keyboard.press("h")
    ready(page, but=before)
    assert votes(campaigns, campaign, 1, page)[0].vote.choice == "left"


def test_fingers_vote_too(browser: Browser, watched: Any, bench: Any, campaigns: Campaigns, campaign: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(120_000)
    with contextlib.closing(context):
        page = context.new_page()
        watched.watch(page)
        page.goto(f"{bench.address}label/?campaign={campaign}")
        page.locator("#label-desk .name").fill("tom")
        page.locator("#label-desk .strong").tap()
        before = ready(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("#label-desk [data-vote=right]").tap()
        ready(page, but=before)
        (vote,) = votes(campaigns, campaign, 1, page)
        assert (vote.vote.choice, vote.vote.labeller) == ("right", "tom")


def test_a_new_campaign_is_made_of_the_library_and_its_results_are_shown(
    page: Page, bench: Any, campaigns: Campaigns, order: dict[str, int]
) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    page.get_by_role("tab", name=text.NEW, exact=True).click()
    page.locator("#campaign-title input, #campaign-title textarea").fill("Made on the page")
    page.get_by_label(text.WHAT_CLIPS).check()
    page.locator("#create-campaign").click()
    page.locator("#label-desk .name").fill("eva")
    page.keyboard.press("Enter")
    for _ in range(3):
        prefer(page, order)
    page.wait_for_function(SENT)
    made = campaigns.list()[0]
    assert (made.title, len(made.spec.clip_ids)) == ("Made on the page", 8)
    page.get_by_role("tab", name=text.RESULTS, exact=True).click()
    expect(page.locator("#label-sheet .figures")).to_contain_text("3 of 28")
    expect(page.locator("#label-sheet tbody tr")).to_have_count(1)
    with page.expect_download() as waiting:
        page.get_by_role("link", name=text.EXPORTS["votes"]).click()
    assert "eva" in Path(waiting.value.path()).read_text(encoding="utf-8")
