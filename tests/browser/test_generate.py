"""The main job: a person types a prompt and gets clips that play, with their scores, whatever happens meanwhile."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general, jobs
from engine.config.presets import load_preset
from engine.jobs.handlers.campaign_clips import create_campaign
from engine.jobs.queue import JobQueue
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PROMPT = "a large red circle moving left over a meadow"
UNFINISHED = "#queue .jobs .job"


def open_form(page: Page, bench: Any, prompt: str = PROMPT, **settings: Any) -> None:
    """Open the page, wait until it is itself, and fill in the form."""
    page.goto(bench.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"), timeout=120_000)
    page.locator("#prompt textarea").fill(prompt)
    for name, value in settings.items():
        page.locator(f"#{name} input[type=number]").fill(str(value))
        page.locator(f"#{name} input[type=number]").blur()


def submit(page: Page) -> None:
    page.locator("#prompt textarea").press("Control+Enter")


def job_of(page: Page, prompt: str) -> Locator:
    """The row of an active job in the queue."""
    return page.locator(UNFINISHED).filter(has_text=prompt)


def wait_for_takes(page: Page, count: int) -> None:
    expect(page.locator(UNFINISHED)).to_have_count(0, timeout=180_000)
    cards = page.locator("#generate-takes .card")
    expect(cards).to_have_count(count if count > 1 else 0)


def is_playing(page: Page, player: str) -> bool:
    """Whether time passes in the player's first video."""
    page.wait_for_function(
        "name => document.querySelector(`#${name} video`)?.currentTime > 0", arg=player, timeout=60_000
    )
    page.wait_for_function(
        """name => { const video = document.querySelector(`#${name} video`); const before = window.before;
        window.before = video.currentTime; return before !== undefined && video.currentTime !== before; }""",
        arg=player,
        polling=100,
    )
    return True


def shown_clip(page: Page) -> str:
    """The id of the clip whose facts are shown, from the address of its media."""
    first = "document.querySelector('#generate-player [id^=html]').player.state.clips[0]"
    page.wait_for_function(first)
    return page.evaluate(f"{first}.id")


def test_a_prompt_becomes_a_clip_that_plays_with_its_scores(page: Page, studio: Any) -> None:
    open_form(page, studio, takes=2)
    submit(page)
    job = job_of(page, PROMPT)
    expect(job).to_contain_text(f"2 clips: {PROMPT}")
    wait_for_takes(page, 2)
    assert is_playing(page, "generate-player")
    expect(page.locator("#generate-facts .prompt")).to_have_text(PROMPT)
    expect(page.locator("#generate-facts .total b")).to_have_text(re.compile(r"\d\.\d\d|not scored"))
    rewards = load_preset("rewards", "mini").weights
    expect(page.locator("#generate-bars .ytick text")).to_have_count(len(rewards))
    expect(page.locator("#generate-timeline .playhead")).to_be_visible()


def test_progress_is_seen_and_a_reload_in_the_middle_loses_nothing(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a yellow star bouncing at night", takes=2)
    set_steps(page, 40)
    submit(page)
    job = job_of(page, "a yellow star bouncing at night")
    expect(job).to_contain_text(re.compile(r"Denoising, step \d+ of 40"), timeout=180_000)
    with studio.paused_worker():
        page.reload()
        expect(job).to_contain_text("2 clips: a yellow star bouncing at night")
        expect(job.locator(".track")).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
    wait_for_takes(page, 2)
    expect(page.locator("#generate-facts .prompt")).to_have_text("a yellow star bouncing at night")
    assert is_playing(page, "generate-player")


def test_work_is_announced_when_it_begins_and_when_it_ends(page: Page, studio: Any) -> None:
    prompt = "a pink star falling at night"
    open_form(page, studio, prompt=prompt)
    set_steps(page, 40)
    page.evaluate(
        """() => { const line = document.getElementById('dailies-voice'); window.said = [];
        new MutationObserver(() => window.said.push(line.textContent)).observe(line, { childList: true }); }"""
    )
    submit(page)
    expect(page.locator("#dailies-voice")).to_have_text(
        f"1 clip: {prompt}: {jobs.QUEUE_WORDS['done']}", timeout=180_000
    )
    said = page.evaluate("window.said")
    assert 2 <= len(said) <= 4 and all(prompt in sentence for sentence in said), said
    assert page.locator("#queue [aria-live]").count() == 0


def set_steps(page: Page, steps: int) -> None:
    page.get_by_text(general.MORE).click()
    field = page.locator("#steps input[type=number]")
    expect(field).to_have_value("4")  # the slider is there, with the preset's value
    field.fill(str(steps))
    field.blur()
    expect(field).to_have_value(str(steps))


def test_a_running_job_is_cancelled_and_filed_again(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a blue square rising at night", takes=4)
    set_steps(page, 100)
    submit(page)
    job = job_of(page, "a blue square rising at night")
    expect(job).to_contain_text("Denoising", timeout=180_000)
    page.locator("#queue .badge").click()
    with studio.paused_worker():
        job.get_by_role("button", name=jobs.QUEUE_WORDS["cancel"]).click()
        expect(job).to_contain_text(general.STOPPING)
    ended = page.locator("#queue .ended .job").filter(has_text="a blue square rising at night")
    expect(ended).to_have_attribute("data-status", "cancelled", timeout=180_000)
    with studio.paused_worker():
        ended.get_by_role("button", name=jobs.QUEUE_WORDS["retry"]).click()
        expect(job).to_contain_text(general.waiting(1))
        job.get_by_role("button", name=jobs.QUEUE_WORDS["cancel"]).click()
        expect(ended).to_have_count(2)
    page.keyboard.press("Escape")
    line = page.locator("#generate-jobs .job")
    expect(line).to_have_attribute("data-status", "cancelled")
    line.get_by_role("button", name=jobs.LINE_WORDS["dismiss"]).click()
    expect(line).to_be_hidden()


def test_a_preview_is_seen_before_the_clip_in_the_players_place(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a red circle moving left at night", takes=2)
    set_steps(page, 8)
    submit(page)
    wait_for_takes(page, 2)
    player = page.locator("#generate-player .player")
    expect(player).to_be_visible()
    page.locator("#steps input[type=number]").fill("100")
    page.locator("#steps input[type=number]").blur()
    page.locator("#prompt textarea").fill("a yellow square rising over a meadow")
    submit(page)
    sheet = page.locator(".preview .sheet")
    expect(sheet).to_be_visible(timeout=180_000)
    expect(player).to_be_hidden()
    with studio.paused_worker():
        assert len([*studio.workspace.jobs.glob("*.jpg")]) == 1
        expect(sheet).to_have_attribute("aria-label", re.compile("a yellow square rising over a meadow"))
        expect(sheet).to_have_css("background-image", re.compile(r"/media/jobs/[0-9a-f]{8}/preview\?at=\d+"))
        expect(page.locator(".preview figcaption")).to_have_text(re.compile(r"Denoising, step \d+ of 100"))
        box = sheet.bounding_box()
        assert box is not None and box["width"] > 200 and abs(box["width"] / box["height"] - 2) < 0.1, "two clips"
        toggle = page.locator("#generate-jobs").get_by_role("button", name=jobs.LINE_WORDS["preview"])
        toggle.click()
        expect(sheet).to_be_hidden()
        expect(player).to_be_visible()
        toggle.click()
        expect(player).to_be_hidden()
        page.locator("#generate-takes .card .thumb").first.click()
        expect(player).to_be_visible()
        toggle.click()
        page.reload()  # the preview is found again
        expect(sheet).to_be_visible()
    page.locator("#generate-jobs").get_by_role("button", name=jobs.LINE_WORDS["cancel"]).click()
    expect(player).to_be_visible()
    expect(page.locator(UNFINISHED)).to_have_count(0)
    assert not [*studio.workspace.jobs.glob("*.jpg")]


def test_the_clip_takes_the_place_of_its_preview(page: Page, studio: Any) -> None:
    prompt = "a pink circle falling at night"
    open_form(page, studio, prompt=prompt)
    set_steps(page, 60)
    submit(page)
    expect(page.locator(".preview .sheet")).to_be_visible(timeout=180_000)
    expect(page.locator("#generate-facts .prompt")).to_have_text(prompt)
    expect(page.locator("#generate-player .player")).to_be_visible()
    expect(page.locator(".preview")).to_have_count(0)


def test_no_preview_is_made_when_it_is_switched_off(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a white star falling at night")
    set_steps(page, 60)
    page.locator("#preview input").uncheck()
    submit(page)
    seen = set[str]()
    while page.locator(UNFINISHED).count() or not page.locator("#generate-facts .prompt").count():
        seen |= {path.name for path in studio.workspace.jobs.glob("*.jpg")}
    expect(page.locator("#generate-facts .prompt")).to_have_text("a white star falling at night")
    assert not seen


def test_the_same_seed_gives_the_same_clip_and_a_new_one_another(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a green cross moving up on a white background")
    submit(page)
    wait_for_takes(page, 1)
    expect(page.locator("#generate-facts .prompt")).to_have_text("a green cross moving up on a white background")
    first = shown_clip(page)
    page.get_by_role("button", name=general.ACTIONS["new_seed"]).click()
    page.wait_for_function(
        f"document.querySelector('#generate-player [id^=html]').player.state.clips[0].id !== '{first}'"
    )
    page.get_by_role("button", name=general.ACTIONS["use_settings"]).click()
    expect(page.locator("#keep-seed input")).to_be_checked()  # the form is filled
    second = shown_clip(page)
    page.locator("#prompt textarea").fill("a green cross moving down on a white background")
    page.get_by_role("button", name=general.ACTIONS["again"]).click()
    page.wait_for_function(
        f"document.querySelector('#generate-player [id^=html]').player.state.clips[0].id !== '{second}'"
    )
    expect(page.locator("#generate-facts .prompt")).to_have_text("a green cross moving down on a white background")
    seed = page.locator("#seed input, #seed textarea").input_value()
    expect(page.locator("#generate-player .caption")).to_contain_text(f"seed {seed}")


def test_takes_are_chosen_and_compared(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a pink heart growing in the desert", takes=3)
    submit(page)
    wait_for_takes(page, 3)
    cards = page.locator("#generate-takes .card")
    cards.nth(2).locator(".thumb").click()
    expect(cards.nth(2)).to_have_class(re.compile("is-current"))
    third = cards.nth(2).get_attribute("data-id")
    page.wait_for_function(
        f"document.querySelector('#generate-player [id^=html]').player.state.clips[0].id === '{third}'"
    )
    for index in (0, 1):
        cards.nth(index).locator("input").check(force=True)
    page.locator("#generate-takes [data-do=compare]").click()
    expect(page.locator("#generate-player video")).to_have_count(2)


def test_an_opened_clip_stays_when_a_job_ends(page: Page, studio: Any) -> None:
    first, second = "a yellow cross growing in the desert", "a yellow heart growing in the desert"
    open_form(page, studio, prompt=first, takes=2)
    submit(page)
    wait_for_takes(page, 2)
    prompt = page.locator("#generate-facts .prompt")
    expect(prompt).to_have_text(first)
    card = page.locator("#generate-takes .card").nth(1)
    with studio.paused_worker():
        page.locator("#prompt textarea").fill(second)
        submit(page)
        expect(job_of(page, second)).to_have_count(1)
        card.locator(".thumb").click()
        expect(card).to_have_class(re.compile("is-current"))
    ready = page.locator("#generate-takes .ready-bar")
    expect(ready).to_contain_text(f"Ready: 2 clips: {second}")
    expect(card).to_have_class(re.compile("is-current"))
    expect(prompt).to_have_text(first)
    ready.get_by_role("button", name=general.GRID_WORDS["ready"]).click()
    expect(prompt).to_have_text(second)
    expect(ready).to_be_hidden()


def test_the_clips_of_a_campaign_are_not_shown_in_generate(page: Page, studio: Any) -> None:
    prompt = "a cyan heart growing in the desert"
    open_form(page, studio, prompt=prompt)
    submit(page)
    shown = page.locator("#generate-facts .prompt")
    expect(shown).to_have_text(prompt)
    spec = {"title": "Two stars", "prompts": ("a cyan star at night",), "entrants": ({"model": "mini"},), "takes": 2}
    store = Library(studio.workspace)
    create_campaign(JobQueue(store), Campaigns(store), CampaignSpec.model_validate(spec))
    store.close()
    page.locator("#queue .badge").click()
    ended = page.locator("#queue .ended .job").filter(has_text="Campaign Two stars: 2 clips")
    expect(ended).to_have_attribute("data-status", "done", timeout=180_000)
    page.keyboard.press("Escape")
    expect(shown).to_have_text(prompt)
    page.reload()
    expect(shown).to_have_text(prompt)


def test_a_clip_is_shown_in_the_library(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a cyan triangle falling in the desert")
    submit(page)
    wait_for_takes(page, 1)
    expect(page.locator("#generate-facts .prompt")).to_have_text("a cyan triangle falling in the desert")
    page.get_by_role("button", name=general.ACTIONS["show_in_library"]).click()
    expect(page.locator("#library-facts .prompt")).to_have_text("a cyan triangle falling in the desert")
    expect(page.locator("#library-grid .card").first).to_contain_text("a cyan triangle falling in the desert")
    page.locator("#library-facts").get_by_role("button", name=general.ACTIONS["use_settings"]).click()
    expect(page.locator("#prompt textarea")).to_be_visible()
    expect(page.locator("#prompt textarea")).to_have_value("a cyan triangle falling in the desert")


@pytest.mark.parametrize(
    ("prompt", "settings", "sentence"),
    [
        ("", {}, "Enter a prompt."),
        ("x" * 10_000, {}, "The prompt has 10,000 characters: shorten it to 2,000 or fewer."),
        ("a star", {"frames": 34}, "the nearest is 33"),
    ],
)
def test_a_mistake_is_said_at_its_field(page: Page, studio: Any, prompt: str, settings: Any, sentence: str) -> None:
    open_form(page, studio, prompt=prompt, **settings)
    submit(page)
    line = page.locator("#generate-problem [role=alert]")
    expect(line).to_contain_text(sentence)
    field = page.locator("#frames input[type=number]" if settings else "#prompt textarea")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    expect(page.locator(".toast-body")).to_have_count(0)
    expect(page.locator(UNFINISHED)).to_have_count(0)
    field.fill("33" if settings else "a star")
    expect(line).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_a_mistake_in_a_closed_section_opens_it(page: Page, studio: Any) -> None:
    open_form(page, studio, prompt="a star")
    page.get_by_text(general.MORE).click()
    width = page.locator("#width input")
    width.fill("-5")
    page.get_by_text(general.MORE).click()
    expect(width).to_be_hidden()
    submit(page)
    expect(page.locator("#generate-problem [role=alert]")).to_have_text(
        "width = -5 is invalid: it must be 16 to 8,192."
    )
    expect(width).to_be_focused()
    expect(width).to_have_attribute("aria-invalid", "true")


def test_an_empty_workspace_says_what_to_do(page: Page, new_workbench: Any) -> None:
    bench = new_workbench()
    bench.start()
    page.goto(bench.address)
    expect(page.get_by_text(general.WELCOME_WORDS["greeting"])).to_be_visible()
    page.get_by_role("tab", name=general.LIBRARY).click()
    expect(page.get_by_text(general.LIBRARY_EMPTY[0])).to_be_visible()
    page.goto("about:blank")  # a page whose server goes complains of it
    bench.end()
