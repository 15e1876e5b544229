"""Labelling in a browser: every vote is in the database as it was meant, whatever happens meanwhile."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from app.text import labelling as text
from app.text.general import LIBRARY
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns

# What a browser says of a server that goes in the middle of an answer and does not come; and Gradio of the same.
AWAY = (
    r"net::ERR_(CONNECTION_\w+|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)"
    "|Could not connect|network error|Connection errored out"
)

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_thirty_votes_by_keyboard_alone(desk: Any, page: Page) -> None:
    """Two slips are withdrawn, two votes are changed later, pairs come again with their sides swapped."""
    desk.arrive()
    page.keyboard.press("m")  # the rubric's axis: A is better in motion
    for number in range(30):
        before, sides = desk.ready(), desk.shown()
        if number in (4, 17):  # a slip, seen and withdrawn
            after = desk.press("3")
            page.keyboard.press("u")
            assert desk.ready(but=after) == before and desk.shown() == sides
        desk.prefer()
    found = desk.votes(30)
    told = [one for one in found if one.ended_as is None]
    assert [one.ended_as for one in found].count("undone") == 2
    assert {one.vote.labeller for one in told} == {"anna"} and told[0].vote.axes == {"motion": "left"}
    assert all(desk.is_right(one) for one in told) and {one.vote.choice for one in told} == {"left", "right"}
    repeats = [one for one in told if one.is_repeat]
    first = {one.vote.pair_id: one for one in told if not one.is_repeat}
    assert len(repeats) >= 3
    assert all(first[one.vote.pair_id].left_clip == one.right_clip for one in repeats)
    assert len({one.vote.pair_id for one in told}) == 30 - len(repeats)
    assert all(one.vote.ms is not None and 0 < one.vote.ms < 600_000 for one in told)
    expect(page.locator("#label-desk .place")).to_contain_text("30 voted")


def test_an_earlier_vote_is_changed_by_keyboard_and_history_keeps_it(desk: Any, page: Page) -> None:
    desk.arrive()
    first, sides = desk.ready(), desk.shown()
    second = desk.press("3")
    third = desk.press("3")
    page.keyboard.press("m")  # begun on the third pair, and there again afterwards
    page.keyboard.press("e")
    expect(page.locator("#label-desk .past-list button")).to_have_count(2)
    page.keyboard.press("ArrowDown")  # the older one
    page.keyboard.press("Enter")
    assert desk.ready(but=third) == first and desk.shown() == sides
    expect(page.locator("#label-desk .changing")).to_contain_text("earlier vote: Tie")
    expect(page.locator("#label-desk [data-axis=motion]")).to_have_attribute("data-side", "none")
    page.keyboard.press("2")
    assert desk.ready(but=first) == third
    expect(page.locator("#label-desk .changing")).to_be_hidden()
    expect(page.locator("#label-desk [data-axis=motion]")).to_have_attribute("data-side", "left")
    found = desk.votes(2)
    assert [(one.vote.choice, one.ended_as) for one in found] == [("tie", "edited"), ("tie", None), ("right", None)]
    assert str(found[2].assignment_id) == first != second
    page.keyboard.press("e")
    page.locator("#label-desk .past-list button").last.click()
    assert desk.ready(but=third) == second
    page.keyboard.press("Escape")  # looked at, and left as it is
    assert desk.ready(but=second) == third
    desk.votes(2)


def test_what_is_undone_comes_back_with_its_rubric_and_note(desk: Any, page: Page) -> None:
    desk.arrive()
    first = desk.ready()
    page.keyboard.press("m")
    page.keyboard.press("n")
    page.keyboard.type("jumps at the end")
    page.keyboard.press("Enter")
    second = desk.press("1")
    expect(page.locator("#label-desk .note")).to_have_value("")
    page.keyboard.press("u")
    assert desk.ready(but=second) == first
    expect(page.locator("#label-desk .note")).to_have_value("jumps at the end")
    page.keyboard.press("2")
    desk.ready(but=first)
    told = [one.vote for one in desk.votes(1) if one.ended_as is None]
    assert [(one.choice, one.axes, one.note) for one in told] == [("right", {"motion": "left"}, "jumps at the end")]


def test_the_last_vote_of_all_is_undone_too_and_nothing_is_left_to_do(
    desk: Any, page: Page, campaigns: Campaigns
) -> None:
    desk.campaign = campaigns.create(CampaignSpec(title="Two takes", clip_ids=tuple(sorted(desk.order)[:2]))).id
    desk.arrive()
    pair = desk.ready()
    page.keyboard.press("1")
    expect(page.locator("#label-desk .nothing h3")).to_have_text(text.DESK_WORDS["no_pairs"][0])
    expect(page.locator("#label-desk .place")).to_have_text("1 voted, 0 remaining")
    page.get_by_role("button", name=text.DESK_WORDS["undo_last"]).click()
    assert desk.ready() == pair
    page.keyboard.press("2")
    expect(page.locator("#label-desk .nothing h3")).to_have_text(text.DESK_WORDS["no_pairs"][0])
    assert [one.ended_as for one in desk.votes(1)] == ["undone", None]


def test_keys_are_the_same_under_caps_lock(desk: Any, page: Page) -> None:
    desk.arrive()
    first = desk.ready()
    second = desk.press("3")
    page.keyboard.press("U")
    assert desk.ready(but=second) == first
    desk.votes(0)


def test_models_are_not_told_even_after_the_vote(desk: Any, page: Page, prompt: str) -> None:
    desk.arrive()
    assert "mini" not in page.locator("#label-desk").inner_text()
    expect(page.locator("#label-desk .prompt")).to_have_text(prompt)
    desk.prefer()
    expect(page.locator("#label-desk .last")).to_contain_text(text.DESK_WORDS["last"])
    assert "mini" not in page.locator("#label-desk").inner_text()


def test_a_reload_keeps_the_place(desk: Any, page: Page) -> None:
    desk.arrive()
    place, sides = desk.prefer(), desk.shown()
    desk.sent()
    desk.arrive(name=None)
    assert (desk.ready(), desk.shown()) == (place, sides)
    expect(page.locator("#label-desk .place")).to_contain_text("1 voted")


def test_a_killed_server_loses_no_vote_and_doubles_none(desk: Any, page: Page, bench: Any, watched: Any) -> None:
    """Votes, and one that is changed, while nobody answers; the console may say that nobody does, and only then."""
    desk.arrive()
    desk.prefer()
    desk.sent()
    page.keyboard.press("e")
    page.locator("#label-desk .past-list button").click()
    desk.ready()
    with watched.expecting(AWAY) as said:
        bench.kill()
        page.keyboard.press("3")  # the change
        for _ in range(2):  # the next pairs are here already
            desk.prefer()
        expect(page.locator("#label-desk .notice")).to_contain_text("3 votes are stored in this browser")
        bench.start()
        desk.sent()
    assert said
    found = desk.votes(3)
    assert [one.ended_as for one in found] == ["edited", None, None, None]
    assert found[1].vote.choice == "tie" and all(desk.is_right(one) for one in (found[0], *found[2:]))
    with watched.leaving():
        page.goto("about:blank")  # Gradio loads the page again by itself, at a time of its own
    desk.arrive(name=None)
    expect(page.locator("#label-desk .place")).to_contain_text("3 voted")


def test_nothing_is_voted_while_typing_or_out_of_sight(desk: Any, page: Page) -> None:
    desk.arrive()
    page.keyboard.press("n")
    page.keyboard.type("12 34 x u e")
    expect(page.locator("#label-desk .note")).to_have_value("12 34 x u e")
    page.keyboard.press("Escape")
    page.get_by_role("tab", name=text.RESULTS, exact=True).click()
    page.keyboard.press("1")
    page.get_by_role("tab", name=text.VOTE, exact=True).click()
    desk.votes(0)
    desk.prefer()
    assert desk.votes(1)[0].vote.note == "12 34 x u e"


def test_a_double_click_is_one_vote(desk: Any, page: Page) -> None:
    desk.arrive()
    before = desk.ready()
    page.locator("#label-desk [data-vote=tie]").dblclick()
    desk.ready(but=before)
    desk.votes(1)


def test_two_windows_of_one_labeller_vote_once(desk: Any, page: Page, watched: Any) -> None:
    desk.arrive()
    other = replace(desk, page=page.context.new_page())
    watched.watch(other.page)
    other.arrive(name=None)
    assert other.shown() == desk.shown()
    desk.prefer()
    desk.sent()
    with watched.expecting(r"status of 409 .*/voting/vote") as said:
        other.prefer()
        expect(other.page.locator("#label-desk .notice")).to_contain_text("in another window")
    assert len(said) == 1
    desk.votes(1)


def test_a_pair_whose_file_is_gone_is_left_out(desk: Any, page: Page, bench: Any, watched: Any) -> None:
    gone = max(desk.order, key=desk.order.__getitem__)
    folder = bench.workspace.clip_folder(gone)
    hidden = folder.with_name(f"{gone}.hidden")
    folder.rename(hidden)  # before the page can fetch its files
    try:
        with watched.expecting(r"status of 404 .*/voting/clip/"):
            desk.arrive()
            for _ in range(8):
                desk.prefer()
            desk.sent()
        assert len(desk.campaigns.pairs_without_files(desk.campaign)) >= 1
        assert len({one.vote.client_uuid for one in desk.votes(8)}) == 8
    finally:
        hidden.rename(folder)


def test_a_pair_whose_files_cannot_be_had_now_is_waited_for(desk: Any, page: Page, watched: Any) -> None:
    """The server is away while the next pairs are fetched, and again when one of them is to be shown."""
    let_through = set[str]()

    def media(route: Route) -> None:
        url = route.request.url
        if len(let_through) < 2 or url in let_through:
            let_through.add(url)
            route.fallback()
        else:
            route.fulfill(status=503)

    notice = page.locator("#label-desk .notice")
    with watched.expecting("status of 503"):
        page.route("**/voting/clip/**", media)
        with page.expect_response(lambda reply: reply.status == 503):
            desk.arrive()
        first = desk.ready()
        page.keyboard.press("3")
        expect(notice).to_have_text(text.DESK_WORDS["away"])
        page.unroute("**/voting/clip/**", media)
        desk.ready(but=first)
        expect(notice).to_be_hidden()
        for _ in range(3):
            desk.press("3")
    desk.sent()
    assert desk.campaigns.pairs_without_files(desk.campaign) == []


def test_a_key_is_one_actions_in_all_players(desk: Any, page: Page) -> None:
    """Taken in the Library for Loop, before Label was ever open and after."""
    loop = text.DESK_WORDS["actions"]["loop"]

    def take(key: str) -> None:
        row = page.locator("#library-player .keyrow").filter(has_text=loop)
        page.locator("#library-player summary").click()
        row.locator("button").click()
        page.keyboard.press(key)
        expect(row.locator("button")).to_have_text(key.upper())
        page.locator("#library-player summary").click()

    page.goto(f"{desk.bench.address}?campaign={desk.campaign}")
    page.get_by_role("tab", name=LIBRARY, exact=True).click()
    page.locator("#library-grid .thumb").first.click()
    take("1")
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    page.locator("#label-desk .name").fill("anna")
    page.keyboard.press("Enter")
    first = desk.ready()
    left, right = (page.locator(f"#label-desk [data-vote={side}] kbd") for side in ("left", "right"))
    expect(left).to_have_text("L")
    page.keyboard.press("1")
    assert desk.say("state.loop") is False
    second = desk.press("l")
    assert second != first and desk.votes(1)[0].vote.choice == "left"

    page.get_by_role("tab", name=LIBRARY, exact=True).click()
    take("2")
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    expect(right).to_have_text("1")
    expect(left).to_have_text("L")
    assert desk.press("1") != second
    assert [one.vote.choice for one in desk.votes(2)] == ["left", "right"]
    desk.arrive(name=None)
    expect(right).to_have_text("1")


def test_a_votes_key_can_be_changed_and_is_kept(desk: Any, page: Page) -> None:
    desk.arrive()
    page.locator("#label-desk summary").click()
    row = page.locator("#label-desk .keyrow").filter(has_text=text.CHOICES["left"])
    row.locator("button").click()
    page.keyboard.press("h")
    page.locator("#label-desk summary").click()
    expect(page.locator("#label-desk [data-vote=left] kbd")).to_have_text("H")
    desk.arrive(name=None)
    expect(page.locator("#label-desk [data-vote=left] kbd")).to_have_text("H")
    desk.press("h")
    assert desk.votes(1)[0].vote.choice == "left"


def test_fingers_vote_too(browser: Browser, watched: Any, desk: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(120_000)
    with contextlib.closing(context):
        desk.page = page = context.new_page()
        watched.watch(page)
        page.goto(f"{desk.bench.address}label/?campaign={desk.campaign}")
        page.locator("#label-desk .name").fill("tom")
        page.locator("#label-desk [type=submit]").tap()
        before = desk.ready()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("#label-desk [data-vote=right]").tap()
        desk.ready(but=before)
        (vote,) = desk.votes(1)
        assert (vote.vote.choice, vote.vote.labeller) == ("right", "tom")


def test_what_a_new_campaign_lacks_is_said_at_its_field(desk: Any, page: Page, campaigns: Campaigns) -> None:
    before = len(campaigns.list())
    page.goto(f"{desk.bench.address}?tab=label")
    page.get_by_role("tab", name=text.NEW, exact=True).click()
    create, line = page.locator("#create-campaign"), page.locator("#campaign-problem [role=alert]")
    title = page.locator("#campaign-title :is(input, textarea)")
    prompts = page.locator("#campaign-prompts textarea")
    for field, sentence, typed in ((title, text.NO_TITLE, "A title"), (prompts, text.NO_PROMPTS, "a red ball")):
        create.click()
        expect(line).to_have_text(sentence)
        expect(field).to_be_focused()
        expect(field).to_have_attribute("aria-invalid", "true")
        field.fill(typed)
        expect(line).to_be_hidden()
    expect(page.locator("#campaign-estimate")).to_have_text("1 pair, about 10 s of voting.")
    prompts.fill("a red ball\na blue star")
    page.locator("#campaign-people input").fill("3")
    expect(page.locator("#campaign-estimate")).to_have_text("2 pairs, 6 votes, about 60 s of voting.")
    assert len(campaigns.list()) == before


def test_a_new_campaign_is_made_of_the_library_and_its_results_come_by_themselves(
    desk: Any, page: Page, campaigns: Campaigns
) -> None:
    page.goto(desk.bench.address)
    page.get_by_role("tab", name=text.LABEL, exact=True).click()
    page.get_by_role("tab", name=text.NEW, exact=True).click()
    page.locator("#campaign-title input, #campaign-title textarea").fill("Made on the page")
    page.get_by_label(text.WHAT_CLIPS).check()
    page.locator("#create-campaign").click()
    page.locator("#label-desk .name").fill("eva")
    page.keyboard.press("Enter")
    for _ in range(3):
        desk.prefer()
    desk.sent()
    made = campaigns.list()[0]
    assert (made.title, len(made.spec.clip_ids)) == ("Made on the page", 8)
    page.get_by_role("tab", name=text.RESULTS, exact=True).click()
    figures = page.locator("#label-sheet .figures")
    expect(figures).to_contain_text("3 of 28")
    expect(page.locator("#label-sheet tbody tr")).to_have_count(1)
    learn = page.locator("#label-sheet .learn")
    learn.locator("input").fill("learned")
    learn.locator("button").click()
    expect(learn.locator(".said")).to_contain_text("Learning a mix needs 10 pairs or more")
    campaigns.undo(made.id, "eva")  # somebody votes elsewhere: nothing was pressed here
    expect(figures).to_contain_text("2 of 28")
    with page.expect_download() as waiting:
        page.get_by_role("link", name=text.EXPORTS["votes"]).click()
    table = Path(waiting.value.path())
    assert "eva" in table.read_text(encoding="utf-8")
    with page.expect_file_chooser() as choosing:
        page.locator("#import-votes").click()
    choosing.value.set_files({"name": "votes.csv", "mimeType": "text/csv", "buffer": table.read_bytes()})
    expect(page.get_by_text(text.votes_came(0, 2))).to_be_visible()
