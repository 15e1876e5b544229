"""Help where a person looks: a sentence behind an icon at each setting, and the documentation."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.forms.field_help import sentences
from app.text import general
from app.text.help import HELP_WORDS, TRAIN_FIELDS
from engine.config.form_settings import settings_of
from engine.request import GenerationRequest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

GUIDANCE = str(GenerationRequest.model_fields["guidance"].description)


def test_each_setting_of_generate_says_what_it_is(page: Page, idle: Any) -> None:
    page.goto(idle.address)
    page.get_by_text(general.MORE).click()
    icon = page.get_by_role("button", name=HELP_WORDS["about"].format(term=general.GUIDANCE), exact=True)
    bubble = page.locator(".hint-bubble")
    icon.focus()
    expect(icon).to_have_accessible_description(GUIDANCE)
    page.keyboard.press("Enter")
    expect(bubble).to_have_text(GUIDANCE)
    page.keyboard.press("Escape")
    expect(bubble).to_be_hidden()
    expect(icon).to_be_focused()
    icon.click()
    expect(bubble).to_be_visible()
    icon.click()
    expect(bubble).to_be_hidden()
    page.get_by_text("Keyframes", exact=True).click()
    expect(page.locator("#flow-guidance .help-icon")).to_be_visible()
    shown = page.locator(".request-form [data-hint]").evaluate_all("icons => icons.map(icon => icon.dataset.hint)")
    assert len(shown) == len(set(shown)) >= 20 and set(shown) <= set(sentences().values())
    expect(page.get_by_label(general.NEGATIVE_PROMPT, exact=True)).to_be_visible()  # an icon is no part of a name
    page.get_by_label(general.PREVIEW, exact=True).uncheck()
    page.locator("#preview .help-icon").click()
    expect(page.get_by_label(general.PREVIEW, exact=True)).not_to_be_checked()


def test_each_setting_of_train_says_what_it_is(page: Page, idle: Any) -> None:
    page.goto(f"{idle.address}?tab=train")
    expect(page.locator(".preset-form .front .setting").first).to_be_visible()
    model = page.get_by_role("combobox", name="Model", exact=True).and_(page.locator("[name=model]"))
    expect(model).to_be_visible()
    page.locator(".preset-form label", has=model).locator(".help-icon").press("Enter")
    expect(page.locator(".hint-bubble")).to_have_text(TRAIN_FIELDS["model"])
    page.keyboard.press("Escape")
    said = page.locator(".preset-form .setting").evaluate_all(
        "rows => rows.map(row => [row.dataset.name, row.querySelector('.help-icon').dataset.hint])"
    )
    assert len(said) > 40
    helps = {setting.name: setting.help for setting in settings_of("grpo")}
    assert all(sentence.startswith(helps[name]) for name, sentence in said)


def test_the_documentation_is_a_page_with_links_and_the_theme_of_the_page(page: Page, idle: Any) -> None:
    page.goto(f"{idle.address}docs/index.md")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dailies")
    page.get_by_role("navigation").get_by_role("link", name="Generation", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Generation")
    expect(page.locator("nav [aria-current=page]")).to_have_text("Generation")
    page.get_by_role("main").get_by_role("link", name="prompts", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Prompts and pictures")
    for dark in (True, False):
        page.get_by_role("button", name=general.LIGHT_OR_DARK).click()
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).colorScheme") == ("dark" if dark else "light")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("link", name=HELP_WORDS["docs"]).click()
    page.get_by_role("link", name="Quickstart").first.click()
    expect(page).to_have_url(re.compile("quickstart"))
    page.wait_for_load_state("load")  # of the images, too
    assert page.locator("main img").evaluate_all("all => all.every(one => one.complete && one.naturalWidth > 0)")
