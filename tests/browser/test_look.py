# ruff: noqa: E501 (the script that the page runs is one string)
"""Light and dark, names for what can be used, and reaching all of it by keyboard."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from app.text import general, monitor, system

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, select, textarea, summary')]
  .filter(node => node.offsetParent !== null && !node.labels?.length && !node.getAttribute('aria-label')
    && !node.getAttribute('title') && !node.innerText?.trim() && !node.getAttribute('aria-labelledby'))
  .map(node => node.outerHTML.slice(0, 160))"""

# Contrast of text with the ground it stands on, where both are plain colours (WCAG 2.2, 1.4.3).
PALE = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
  const ground = node => { for (; node; node = node.parentElement) { const colour = parse(getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.99) return colour; } return [255, 255, 255]; };
  const found = [];
  for (const node of document.querySelectorAll('.gradio-container *')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || node.offsetParent === null || node.closest('.thumb, video, button:disabled')) continue;
    const style = getComputedStyle(node), [a, b] = [light(parse(style.color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5) && style.opacity > 0.9) found.push([ratio.toFixed(2), node.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


def open_library(page: Page, bench: Any) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=general.LIBRARY).click()
    page.locator("#library-grid .thumb").first.click()
    expect(page.locator("#library-bars .js-plotly-plot")).to_be_visible()


def open_score(page: Page) -> None:
    page.get_by_role("tab", name=general.SCORE, exact=True).click()
    page.locator("#score-mix input").click()
    page.get_by_role("option", name="Embedded model", exact=True).click()
    page.locator("#score-table td.clip a").first.click()
    expect(page.locator("#score-bars .js-plotly-plot")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_everything_has_a_name(browser: Browser, watched: Any, archive: Any, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, color_scheme=scheme)
    context.set_default_timeout(120_000)
    page = context.new_page()
    watched.watch(page)
    page.goto(archive.address)
    expect(page.locator("body")).to_have_class("dark" if scheme == "dark" else "")
    expect(page.get_by_text(general.STAGE_EMPTY_TITLE)).to_be_visible()
    assert (page.evaluate(NAMELESS), page.evaluate(PALE)) == ([], [])
    open_library(page, archive)
    assert (page.evaluate(NAMELESS), page.evaluate(PALE)) == ([], [])
    open_score(page)
    assert (page.evaluate(NAMELESS), page.evaluate(PALE)) == ([], [])
    for tab, sign in (
        (monitor.MONITOR, "#monitor-curves .empty"),
        (system.SYSTEM, "#system-telemetry .device"),
    ):
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator(sign).first).to_be_visible()
        assert (page.evaluate(NAMELESS), page.evaluate(PALE)) == ([], [])
    context.close()


def test_light_or_dark_is_a_choice_that_is_kept(page: Page, archive: Any) -> None:
    page.goto(archive.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"))
    page.wait_for_load_state("networkidle")  # a reload in the middle of loading is an error in the console
    button = page.get_by_role("button", name=general.LIGHT_OR_DARK)
    button.click()
    expect(page.locator("body")).to_have_class("dark")
    page.reload()
    page.wait_for_load_state("networkidle")
    expect(page.locator("body")).to_have_class("dark")
    button.click()
    expect(page.locator("body")).not_to_have_class("dark")


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


def test_nothing_is_cut_off_at_the_side(browser: Browser, watched: Any, archive: Any) -> None:
    for width in (1280, 1920):
        context = browser.new_context(viewport={"width": width, "height": 800})
        context.set_default_timeout(120_000)
        page = context.new_page()
        watched.watch(page)
        open_library(page, archive)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        open_score(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()
