"""Who may see what, in a browser: a labeller logs in and sees Label only, a researcher everything."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.auth.users import Users, add_user
from app.text import access, general, labelling
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PASSWORD = "correct horse"
ASK = """async (addresses) => Object.fromEntries(await Promise.all(addresses.map(async ([method, address]) => {
  const reply = await fetch(address, { method, redirect: 'manual', headers: { accept: 'application/json' } });
  return [method + ' ' + address, reply.type === 'opaqueredirect' ? 303 : reply.status];
})))"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("access") / "users.json"
    for name, role in (("anna", "labeller"), ("eva", "researcher"), ("bob", "labeller")):
        add_user(path, name, role, PASSWORD)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any], fill: Callable[[Any], None], file: Path) -> Any:
    """With a login."""
    bench = new_workbench(arguments=["--auth", str(file)])
    fill(bench)
    bench.start()
    return bench


@pytest.fixture
def campaign(campaigns: Campaigns, order: dict[str, int]) -> str:
    """Of four of the eight clips."""
    clips = sorted(order, key=order.__getitem__)[:4]
    return campaigns.create(CampaignSpec(title="Takes", clip_ids=tuple(clips), labellers_per_pair=20)).id


def log_in(page: Page, bench: Any, name: str, password: str = PASSWORD) -> None:
    page.goto(bench.address)
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.get_by_label(access.FORM["name"]).fill(name)
    page.get_by_label(access.FORM["password"]).fill(password)
    page.keyboard.press("Enter")


def test_a_labeller_sees_label_and_nothing_else(desk: Any, page: Page, bench: Any, watched: Any) -> None:
    log_in(page, bench, "anna")
    expect(page).to_have_url(re.compile("/label/$"))
    desk.ready()
    expect(page.get_by_role("tab")).to_have_count(0)
    expect(page.locator("#label-desk .my-name")).to_have_text("anna")
    for _ in range(2):
        desk.prefer()
    given, showing = set(desk.shown()), desk.ready()
    told = [one for one in desk.votes(2)]
    assert {one.vote.labeller for one in told} == {"anna"}
    other = next(
        clip
        for clip in desk.order
        if clip not in {c for p in desk.campaigns.pairs(desk.campaign) for c in (p.clip_a, p.clip_b)}
    )
    closed = [
        ("GET", "/config"),
        ("GET", "/gradio_api/info"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("POST", "/label/gradio_api/queue/join"),
        ("GET", "/label/gradio_api/file=/etc/passwd"),
        ("GET", "/monitoring"),
        ("GET", "/trackio/"),
        ("GET", "/trackio/api/get_all_projects"),
        ("GET", f"/clip/{other}"),
        ("GET", f"/media/clips/{other}/clip.mp4"),
        ("GET", f"/media/clips/{other}/poster.jpg"),
        *[("GET", f"/media/clips/{clip}/{name}") for clip in given for name in ("frames.mkv", "clip.mp4")],
        ("GET", f"/media/pictures/{'0' * 64}.png"),
        ("GET", f"/voting/export/{desk.campaign}/votes"),
        ("GET", "/no/such/route"),
    ]
    with watched.expecting("status of 403") as said:
        answers = page.evaluate(ASK, closed)
    assert answers == {f"{method} {address}": 403 for method, address in closed} and len(said) == len(closed)
    opened = [("GET", f"/voting/clip/{showing}/{side}.mp4") for side in ("left", "right")]
    assert set(page.evaluate(ASK, opened).values()) == {200}
    page.goto(bench.address)
    expect(page).to_have_url(re.compile("/label/$"))  # the workbench leads back to what is theirs


def test_a_labeller_logs_out_and_the_next_one_has_votes_of_their_own(desk: Any, page: Page, bench: Any) -> None:
    log_in(page, bench, "anna")
    desk.press("3")
    desk.sent()
    page.get_by_role("link", name=labelling.DESK_WORDS["logout"]).click()
    expect(page).to_have_url(re.compile("/login"))
    log_in(page, bench, "bob")
    desk.ready()
    expect(page.locator("#label-desk .my-name")).to_have_text("bob")
    desk.press("3")
    assert [one.vote.labeller for one in desk.votes(2)] == ["anna", "bob"]


def test_a_link_logs_a_labeller_in(desk: Any, page: Page, bench: Any, file: Path) -> None:
    page.goto(f"{bench.address}login?link={Users(file).token('bob', 'link')}")
    expect(page).to_have_url(re.compile("/label/$"))
    desk.ready()
    expect(page.locator("#label-desk .my-name")).to_have_text("bob")


def test_a_researcher_sees_everything(desk: Any, page: Page, bench: Any) -> None:
    log_in(page, bench, "eva")
    for name in (general.GENERATE, general.LIBRARY, labelling.LABEL):
        page.get_by_role("tab", name=name, exact=True).click()
    desk.ready()
    expect(page.locator("#label-desk .my-name")).to_have_text("eva")
    desk.prefer()
    assert [one.vote.labeller for one in desk.votes(1)] == ["eva"]
    page.get_by_role("tab", name=labelling.RESULTS, exact=True).click()
    expect(page.locator("#label-sheet tbody tr")).to_have_count(1)


def test_wrong_passwords_are_said_and_lock_out(page: Page, bench: Any, watched: Any) -> None:
    with watched.expecting("status of (403|429) .*/login") as said:
        log_in(page, bench, "carl", "guess")
        expect(page.get_by_role("alert")).to_have_text(access.WRONG)
        for number in range(5):
            page.get_by_label(access.FORM["name"]).fill("carl")
            page.get_by_label(access.FORM["password"]).fill(f"guess {number}")
            with page.expect_navigation():
                page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Too many wrong passwords: try again in 15 minutes.")
    assert ["429" in one for one in said] == [False] * 5 + [True]
