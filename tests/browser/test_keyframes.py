"""Keyframe mode end to end: keyframes first, one drawn again, one replaced by an upload, then the clip between them."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from app.text import modes as words
from engine.request import GenerationRequest
from engine.storage.images import load_picture
from engine.storage.library import ClipFilter, Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PROMPT = "a green square moving right in the desert"
STRIP = "#generate-keyframes"


def pictures(page: Page) -> list[str]:
    return page.eval_on_selector_all(f"{STRIP} li img", "images => images.map(image => image.getAttribute('src'))")


def draw(page: Page, bench: Any) -> None:
    page.goto(bench.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"), timeout=120_000)
    page.locator("#prompt textarea").fill(PROMPT)
    page.get_by_role("radio", name="Keyframes").check()
    page.get_by_role("button", name=words.KEYFRAMES_FIRST).click()
    expect(page.locator(f"{STRIP} li")).to_have_count(3)  # 17 frames, one every 8
    page.wait_for_function(
        "strip => [...document.querySelectorAll(`${strip} li img`)].every(image => image.naturalWidth > 0)", arg=STRIP
    )


def test_keyframes_are_looked_at_before_the_rest_is_made(page: Page, studio: Any, tmp_path: Path, watched: Any) -> None:
    draw(page, studio)
    first = pictures(page)

    page.get_by_role("button", name=f"{words.STRIP_WORDS['again']} frame 8").click()
    expect(page.locator(f"{STRIP} li img").nth(1)).not_to_have_attribute("src", first[1])
    second = pictures(page)
    assert (second[0], second[2]) == (first[0], first[2])

    Image.new("RGB", (90, 60), (250, 240, 10)).save(tmp_path / "yellow.png")
    page.locator(f"{STRIP} li").nth(2).locator("input[type=file]").set_input_files(tmp_path / "yellow.png")
    expect(page.locator(f"{STRIP} li img").nth(2)).not_to_have_attribute("src", first[2])
    with watched.leaving():
        page.reload()  # what a job drew is there again; the upload was only on the page
    expect(page.locator(f"{STRIP} li")).to_have_count(3)
    assert pictures(page) == second
    page.locator(f"{STRIP} li").nth(2).locator("input[type=file]").set_input_files(tmp_path / "yellow.png")
    expect(page.locator(f"{STRIP} li img").nth(2)).not_to_have_attribute("src", first[2])

    page.get_by_role("button", name=words.STRIP_WORDS["fill"]).click()
    expect(page.locator("#generate-facts .prompt")).to_have_text(PROMPT)
    page.wait_for_function("document.querySelector('#generate-player video')?.currentTime > 0")
    expect(page.locator(STRIP)).not_to_be_visible()
    holds_its_keyframes(studio)


def holds_its_keyframes(studio: Any) -> None:
    """The uploaded picture is the clip's last frame."""
    from engine.storage.clip_files import load_clip

    store = Library(studio.workspace)
    (record,) = store.clips(ClipFilter(text="green square"))
    request = GenerationRequest(**record.request or {})
    assert request.keyframes and len(request.keyframes.given) == 3
    clip = load_clip(store.workspace, record.id)
    wanted = load_picture(store.workspace, request.keyframes.given[-1].picture)
    store.close()
    assert abs(clip.frames[-1].astype(int) - wanted.astype(int)).max() == 0
