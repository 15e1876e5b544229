"""Light and dark are a choice; the form is reached by keyboard. `walk/test_look` looks at every place."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def test_light_or_dark_is_a_choice_that_is_kept(page: Page, archive: Any, watched: Any) -> None:
    page.goto(archive.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"))
    button = page.get_by_role("button", name=general.LIGHT_OR_DARK)
    button.click()
    expect(page.locator("body")).to_have_class("dark")
    expect(page.locator("html")).to_have_css("color-scheme", "dark")  # native controls and scrollbars follow
    with watched.leaving():
        page.reload()
    expect(page.locator("body")).to_have_class("dark")
    button.click()
    expect(page.locator("body")).not_to_have_class("dark")
    expect(page.locator("html")).to_have_css("color-scheme", "light")


def test_the_form_is_reached_by_keyboard(page: Page, archive: Any) -> None:
    page.goto(archive.address)
    page.locator("#prompt textarea").focus()
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id"))
    assert {"model", "frames", "takes", "seed", "dice", "keep-seed", "generate"} <= {
        closest for closest in reached if closest
    }
