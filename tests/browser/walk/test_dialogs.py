"""Help, drawers and panels that open over or inside a tab: what they do, and what axe-core says of them."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general, labelling, training
from app.text.help import HELP_WORDS, STEPS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

Axe = Callable[[Page], list[list[str]]]


def tab(page: Page, *names: str) -> None:
    for name in names:
        page.get_by_role("tab", name=name, exact=True).click()


def help_open(page: Page) -> Locator:
    return page.locator(".help-dialog[open]")


@pytest.fixture
def furnished_page(page: Page, furnished: Any) -> Page:
    page.goto(furnished.address)
    expect(page.locator("#generate-bars .js-plotly-plot")).to_be_visible()
    return page


# ---- Help
def test_the_question_mark_opens_the_shortcuts_and_escape_closes_them(furnished_page: Page) -> None:
    page = furnished_page
    page.locator("#prompt textarea").press("?")
    expect(help_open(page)).to_have_count(0)  # it is typed there
    expect(page.locator("#prompt textarea")).to_have_value("?")
    page.locator(".help-open").focus()
    page.keyboard.press("?")
    expect(help_open(page).locator('[data-section="shortcuts"] h3')).to_be_in_viewport()
    expect(help_open(page).locator(".keyrow", has_text=general.PLAYER_WORDS["actions"]["flip"])).to_be_visible()  # type: ignore[index]
    page.keyboard.press("Escape")
    expect(help_open(page)).to_have_count(0)
    expect(page.locator(".help-open")).to_be_focused()


def test_the_first_steps_tick_themselves_and_can_be_hidden(furnished_page: Page, watched: Any) -> None:
    page = furnished_page
    pill = page.locator(".start-pill")
    expect(pill).to_have_text(HELP_WORDS["progress"].format(done=4, of=6))  # no 20 votes and no evaluation yet
    pill.click()
    steps = help_open(page).locator(".steps li")
    expect(steps).to_have_count(len(STEPS))
    expect(help_open(page).locator(".steps .is-done")).to_have_count(4)
    expect(steps.nth(2)).to_contain_text("12/20")
    help_open(page).get_by_role("button", name=HELP_WORDS["hide"]).click()
    steps.nth(2).get_by_role("button").click()
    expect(page.get_by_role("tab", name=labelling.LABEL, exact=True)).to_have_attribute("aria-selected", "true")
    expect(pill).to_be_hidden()
    with watched.leaving():
        page.reload()
    expect(page.locator(".help-open")).to_be_visible()
    expect(pill).to_be_hidden()


def test_in_an_empty_workspace_no_step_is_done(page: Page, empty: Any) -> None:
    page.goto(empty.address)
    expect(page.locator(".start-pill")).to_have_text(HELP_WORDS["progress"].format(done=0, of=6))


def test_a_help_icon_opens_the_glossary_at_its_term(furnished_page: Page) -> None:
    page = furnished_page
    tab(page, general.SCORE)
    page.locator('[data-help="Mix"]').click()
    expect(help_open(page).locator(".find")).to_have_value("Mix")
    terms = help_open(page).locator(".terms dt").filter(visible=True)
    expect(terms.filter(has_text="Mix")).to_have_count(1)
    few = terms.count()
    help_open(page).locator(".find").fill("")
    expect(terms.filter(has_text="Flow smoothness")).to_have_count(1)
    assert terms.count() > few
    with page.expect_popup() as opened:
        help_open(page).get_by_role("link", name=HELP_WORDS["docs"]).click()
    expect(opened.value.get_by_role("heading", level=1)).to_have_text("Dailies")


# ---- Label and Generate
def test_a_pair_is_dropped_and_taken_back(furnished_page: Page) -> None:
    page = furnished_page
    tab(page, labelling.LABEL, labelling.PAIRS)
    rows = page.locator("#label-pairs tbody tr")
    expect(rows).to_have_count(12)
    page.locator("#pairs-search textarea, #pairs-search input").fill("star bouncing")
    expect(rows).to_have_count(6)
    rows.nth(0).get_by_role("button").click()
    expect(rows.nth(0).get_by_role("button")).to_have_text(labelling.RESTORE_PAIR)
    expect(page.locator("#label-pairs .note")).to_have_text(labelling.pairs_shown(6, 6, 1))
    rows.nth(0).get_by_role("button").click()
    expect(page.locator("#label-pairs .note")).to_have_text(labelling.pairs_shown(6, 6, 0))


def test_a_run_of_a_campaign_may_have_a_judge(furnished_page: Page) -> None:
    page = furnished_page
    tab(page, training.TRAIN)
    page.locator('[name="preset"]').select_option("mini_dpo")
    judge = page.locator('.of-campaign [name="judge"]')
    expect(page.locator('[name="campaign"]')).to_be_visible()
    page.locator('[name="campaign"]').select_option(index=1)
    expect(judge).to_be_visible()
    expect(page.locator('[name="judge_agreement"]')).to_have_value("0.7")
    page.locator('[name="campaign"]').select_option("")
    expect(judge).to_be_hidden()


def test_settings_are_saved_applied_and_deleted_with_undo(furnished_page: Page) -> None:
    page = furnished_page
    page.get_by_text(general.MORE, exact=True).click()
    steps = page.locator("#steps input[type=number]")
    expect(page.locator("#seed input, #seed textarea")).not_to_have_value("")  # the form is filled first
    expect(steps).to_have_value("20")
    steps.fill("7")
    steps.blur()
    saved = page.locator("#saved-settings")
    saved.locator("summary").click()
    saved.locator("input").fill("Seven steps")
    saved.locator(".save button").click()
    expect(saved.locator("li")).to_contain_text("7 steps")
    steps.fill("9")
    steps.blur()
    saved.locator('[data-do="apply"]').click()
    expect(steps).to_have_value("7")
    saved.locator('[data-do="delete"]').click()
    expect(saved.locator("li")).to_have_count(0)
    saved.locator('[data-do="restore"]').click()
    expect(saved.locator("li")).to_contain_text("Seven steps")
    saved.locator('[data-do="delete"]').click()


# ---- axe-core over what is opened
def opened_queue(page: Page) -> None:
    page.locator("#queue .badge").click()
    expect(page.locator("#queue-drawer")).to_be_visible()


def opened_help(page: Page) -> None:
    page.locator(".help-open").click()
    expect(help_open(page).locator(".steps li")).to_have_count(len(STEPS))


def opened_form(page: Page) -> None:
    page.get_by_text(general.MORE, exact=True).click()
    page.locator("#saved-settings summary").click()
    page.locator("#prompt-history summary").click()
    page.get_by_text("Sweep", exact=True).click()
    expect(page.locator("#sweep-rows")).to_be_visible()


def opened_import(page: Page) -> None:
    tab(page, general.SCORE)
    page.get_by_role("button", name=general.DROP, exact=True).click()
    expect(page.locator("#score-import")).to_be_visible()


def opened_pairs(page: Page) -> None:
    tab(page, labelling.LABEL, labelling.PAIRS)
    expect(page.locator("#label-pairs tbody tr").first).to_be_visible()


def opened_campaign(page: Page) -> None:
    tab(page, labelling.LABEL, labelling.CAMPAIGNS)
    page.locator('#label-campaigns [data-do="edit"]').first.click()
    expect(page.locator("#label-campaigns .editing")).to_be_visible()


def opened_settings(page: Page) -> None:
    tab(page, training.TRAIN)
    page.locator('[name="preset"]').select_option("mini_dpo")
    page.locator('[name="campaign"]').select_option(index=1)
    page.locator(".preset-form .more summary").click()
    page.locator('.preset-form [data-do="command"]').click()
    page.locator('.preset-form [data-do="save"]').click()
    expect(page.locator(".preset-form .saving")).to_be_visible()


def opened_shortcuts(page: Page) -> None:
    page.locator("#generate-player summary, #generate-player [data-do=keys]").first.click()
    expect(page.locator("#generate-player .keyrow").first).to_be_visible()


OPENED = (
    opened_queue,
    opened_help,
    opened_form,
    opened_import,
    opened_pairs,
    opened_campaign,
    opened_settings,
    opened_shortcuts,
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_opens_is_readable(browser: Any, watched: Any, furnished: Any, axe: Axe, scheme: Any) -> None:
    found = {}
    for opened in OPENED:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(120_000)
        page = context.new_page()
        watched.watch(page)
        page.goto(furnished.address)
        expect(page.locator("#generate-bars .js-plotly-plot")).to_be_visible()
        opened(page)
        found[opened.__name__] = axe(page)
        with watched.leaving():
            context.close()
    assert {name: said for name, said in found.items() if said} == {}
