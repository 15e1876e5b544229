# ruff: noqa: E501 (a script that the page runs is one string)
"""Every place of the page, wide and narrow, light and dark, with content and without: what axe-core says of it, that
nothing scrolls sideways, and that no text is cut off unless the whole of it is told on pointing at it."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]

Axe = Callable[[Page], list[list[str]]]

# An ellipsis or a clamp is fair where a title, on the element or around it, has the whole text.
CUT = """() => {
  const shown = (node) => node.offsetParent !== null && node.getClientRects().length > 0;
  const hides = (style) => ["hidden", "clip"].includes(style.overflowX) || ["hidden", "clip"].includes(style.overflowY);
  const found = [];
  for (const node of document.querySelectorAll(".gradio-container *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !shown(node) || node.closest("[title], .sr-only, svg")) continue;
    const wide = node.scrollWidth > node.clientWidth + 1, high = node.scrollHeight > node.clientHeight + 1;
    if (getComputedStyle(node).display !== "inline" && hides(getComputedStyle(node)) && (wide || high)) found.push(node.textContent.trim().slice(0, 60));
  }
  const pen = document.createElement("canvas").getContext("2d");
  for (const select of document.querySelectorAll("select")) {
    if (!shown(select) || select.title) continue;
    const style = getComputedStyle(select);
    pen.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`; // style.font is empty with tabular figures
    const words = select.selectedOptions[0]?.textContent ?? "", room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (pen.measureText(words).width > room) found.push(words);
  }
  return found;
}"""

# Whether what the page holds is wider than the page: it would be scrolled sideways, or, as Gradio hides that, be lost.
WIDE = """() => {
  let wide = false;
  for (let node = document.querySelector("main > *, .masthead"); node; node = node.parentElement) wide ||= node.scrollWidth > node.clientWidth + 1;
  return wide;
}"""


def test_every_place_is_readable(walker: Any, places: tuple[str, ...], axe: Axe) -> None:
    found = {}
    for place in places:
        walker.go(place)
        found[place] = (axe(walker.page), walker.page.evaluate(CUT), walker.page.evaluate(WIDE))
    assert {place: told for place, told in found.items() if told != ([], [], False)} == {}


def test_what_is_asked_can_be_answered_with_no(page: Page, empty: Any, axe: Axe) -> None:
    """Each of the checks above sees what it is for."""
    page.goto(empty.address)
    expect(page.locator("#prompt textarea")).to_be_visible()
    page.evaluate("""document.querySelector(".masthead").insertAdjacentHTML("afterend", `<button></button>
      <p style="color: #ccc; background: #fff">pale</p><p style="width: 40px; overflow: hidden; white-space: nowrap">cut off in the middle</p>
      <select style="width: 60px"><option>far too long a choice</option></select><div style="width: 3000px">wide</div>`)""")
    assert {"button-name", "color-contrast", "select-name"} <= {rule for rule, _ in axe(page)}
    assert page.evaluate(CUT) == ["cut off in the middle", "far too long a choice"]
    assert page.evaluate(WIDE)
