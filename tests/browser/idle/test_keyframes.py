"""The strip of keyframes after something did not come about: it can be used again, with the pictures put in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from app.text import modes as words
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.storage.images import save_picture

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture
def strip(page: Page, idle: Any, jobs: JobQueue, watched: Any) -> Locator:
    """What a job drew, as the page finds it when it is opened."""
    request = GenerationRequest(prompt="a cross", mode="keyframes", num_frames=17, seed=3)
    drawn = jobs.submit(JobSpec.keyframes(request, "mini"))
    jobs.claim(ProcessIdentity.current())
    names = [save_picture(idle.workspace, np.full((64, 64, 3), grey, np.uint8)) for grey in (40, 120, 200)]
    kept = [{"frame": 8 * index, "picture": name} for index, name in enumerate(names)]
    jobs.finish(drawn.id, "done", result={"keyframes": kept})
    page.goto(idle.address)
    watched.requests.wait()
    strip = page.locator("#generate-keyframes")
    expect(strip.locator("li")).to_have_count(3)
    return strip


@pytest.fixture
def yellow(tmp_path: Path) -> Path:
    path = tmp_path / "yellow.png"
    Image.new("RGB", (90, 60), (250, 240, 10)).save(path)
    return path


def put_in(strip: Locator, place: int, path: Path) -> None:
    strip.locator("li").nth(place).locator("input[type=file]").set_input_files(path)


def pictures(strip: Locator) -> list[str]:
    return [str(image.get_attribute("src")) for image in strip.locator("img").all()]


def again(strip: Locator, frame: int) -> Locator:
    return strip.get_by_role("button", name=f"{words.STRIP_WORDS['again']} frame {frame}", exact=True)


def usable(strip: Locator) -> None:
    for button in strip.locator("button").all():
        expect(button).to_be_enabled()
    expect(strip.locator(".is-waiting")).to_have_count(0)
    expect(strip.locator(".state")).not_to_have_text(words.STRIP_WORDS["drawing"])


def test_a_redraw_that_fails_or_is_cancelled_unlocks_the_strip(
    page: Page, strip: Locator, jobs: JobQueue, yellow: Path
) -> None:
    before = pictures(strip)
    put_in(strip, 2, yellow)
    expect(strip.locator("img").nth(2)).not_to_have_attribute("src", before[2])
    shown = pictures(strip)
    mine = page.locator("#generate-jobs .job:not(.is-bad, [hidden])")
    for end in ("failed", "cancelled"):
        again(strip, 0).click()
        expect(mine).to_have_count(1)
        expect(again(strip, 8)).to_be_disabled()
        if end == "failed":
            job = jobs.claim(ProcessIdentity.current())
            assert job is not None and job.kind == "keyframes"
            jobs.finish(job.id, "failed", error="No memory.")
        else:
            mine.locator('[data-do="cancel"]').click()
        usable(strip)
        assert pictures(strip) == shown


def test_a_picture_that_is_refused_or_does_not_arrive_unlocks_the_strip(
    page: Page, strip: Locator, yellow: Path, tmp_path: Path, watched: Any
) -> None:
    shown = pictures(strip)
    (tmp_path / "none.png").write_text("no picture")
    put_in(strip, 1, tmp_path / "none.png")
    expect(page.locator(".toast-body")).to_contain_text("cannot be read as a picture")
    usable(strip)
    assert pictures(strip) == shown

    with watched.expecting("ERR_FAILED|Failed to fetch|Upload failed|rror"):
        page.route("**/upload**", lambda route: route.abort())
        put_in(strip, 1, yellow)
        expect(strip.locator(".state")).to_have_text(words.STRIP_WORDS["not_sent"])
        page.unroute("**/upload**")
    usable(strip)
    assert pictures(strip) == shown
    put_in(strip, 1, yellow)
    expect(strip.locator("img").nth(1)).not_to_have_attribute("src", shown[1])
    usable(strip)
