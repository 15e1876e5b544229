"""The pair player, read from pixels: every frame exact, flipped, wiped and subtracted, by key and by finger."""

import contextlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

NUM_FRAMES, NEAR = 33, 3  # how far the browser's colours may be from ours, of 255
EDGE, LINE = 6, 2  # px: what is cut off of a picture for its round corners, and how wide the wipe's line is
STAGE = "#label-desk .stage"
Grey = Callable[[int, int], int]


def stand(desk: Any, frame: int) -> None:
    """Stand still at a frame."""
    desk.say(f"goTo({frame})")
    desk.until("state.wanted === null")
    # A busy browser presents a frame after it has reported the seek as done.
    desk.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert desk.say("state.frame") == frame


def seen(page: Page) -> np.ndarray:
    """What a person sees in the place of the first picture, `uint8[H,W]`, without its round corners."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = page.locator(f"{STAGE} .frame").locator("visible=true").first.screenshot()
    found = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert found is not None
    return found[EDGE:-EDGE, EDGE:-EDGE]


def boundary(picture: np.ndarray, left: int, right: int) -> float:
    """Where the line of the wipe stands, 0..1; what is left of it and right of it is checked."""
    row = picture[len(picture) // 2].astype(int)
    (split,) = [place for place in range(1, len(row)) if abs(row[place - 1 : place + 3] - right).max() <= NEAR][:1]
    assert abs(row[: split - 4] - left).max() <= NEAR and abs(row[split:] - right).max() <= NEAR
    return (split - LINE + EDGE) / (len(row) + 2 * EDGE)


def both(desk: Any, grey: Grey, frame: int) -> tuple[int, int]:
    """What the two clips' pictures are at a frame."""
    left, right = (grey(desk.order[clip], frame) for clip in desk.shown())
    return left, right


def apart(desk: Any, grey: Grey) -> tuple[int, int]:
    """Stand still at a frame at which the two pictures differ enough, and what they are there; of the first pair that
    has one (two that run the same way differ little)."""
    while not (frames := [n for n in range(NUM_FRAMES) if abs(np.subtract(*both(desk, grey, n))) > 4 * NEAR]):
        desk.press("3")
    stand(desk, frames[0])
    return both(desk, grey, frames[0])


def test_every_frame_is_exact_on_both_sides(desk: Any, page: Page, grey: Grey) -> None:
    """Stepped through by key, on and back."""
    desk.arrive()
    desk.say("goTo(0)")
    wrong = []
    for key, frames in (("ArrowRight", [*range(NUM_FRAMES)]), ("ArrowLeft", [*reversed(range(NUM_FRAMES))])):
        for frame in frames:
            desk.until("state.wanted === null")
            assert desk.say("state.frame") == frame
            if any(abs(got - want) > NEAR for got, want in zip(desk.greys(), both(desk, grey, frame), strict=True)):
                wrong.append((key, frame, desk.greys()))
            if frame != frames[-1]:
                page.keyboard.press(key)
    assert wrong == []


def test_four_clips_stay_exact_too(desk: Any, page: Page, grey: Grey) -> None:
    desk.arrive()
    clips = page.evaluate(
        """async () => {
          const asked = { campaign: new URL(location.href).searchParams.get('campaign'), labeller: 'anna' };
          const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(asked) };
          const { pairs } = await (await fetch('/voting/next', init)).json();
          return Object.values(Object.fromEntries(pairs.flatMap(({ clips }) => clips).map((clip) => [clip.id, clip])));
        }"""
    )
    page.evaluate(
        "(clips) => document.querySelector('#label-desk [id^=html]').player.show({ clips, prefetch: [] })", clips[:4]
    )
    desk.until("state.videos.length === 4")
    for frame in (0, 7, 20, 32, 3):
        stand(desk, frame)
        expected = [grey(desk.order[desk.clip_of(clip["id"])], frame) for clip in clips[:4]]
        assert np.abs(np.subtract(desk.greys(), expected)).max() <= NEAR, frame


def test_flip_wipe_and_difference_show_what_they_say(desk: Any, page: Page, grey: Grey) -> None:
    desk.arrive()
    for frame in (0, 9, 25):
        stand(desk, frame)
        left, right = both(desk, grey, frame)
        for key, expected in (("f", left), ("f", right), ("d", abs(left - right))):
            page.keyboard.press(key)
            assert np.abs(seen(page).astype(int) - expected).max() <= NEAR, (frame, key)
        page.keyboard.press("w")
        if abs(left - right) > 4 * NEAR:
            assert boundary(seen(page), left, right) == pytest.approx(0.5, abs=0.02)
        page.keyboard.press("s")


def test_speed_is_that_of_all_clips_by_key_and_by_choice(desk: Any, page: Page) -> None:
    desk.arrive()
    rates = "state.videos.map((video) => video.playbackRate)"
    for key, speeds in (("]", (2, 2)), ("[", (1, 0.5, 0.25, 0.25))):
        for speed in speeds:
            page.keyboard.press(key)
            assert desk.say(rates) == [speed, speed]
            assert float(page.locator("#label-desk .speed").input_value()) == speed
    page.locator("#label-desk .speed").select_option("2")
    assert desk.say(rates) == [2, 2]
    desk.press("3")
    assert desk.say(rates) == [2, 2], "the next pair goes as fast"


def test_replay_begins_anew_and_the_loop_can_be_switched_off(desk: Any, page: Page) -> None:
    desk.arrive()
    page.locator("#label-desk .speed").select_option("2")
    button = page.locator('#label-desk [data-action="loop"]')
    page.keyboard.press("l")
    assert button.get_attribute("aria-pressed") == "false"
    stand(desk, 30)
    page.keyboard.press("r")
    desk.until("state.frame < 10")
    assert not desk.say("state.leader.paused")
    desk.until("state.leader.ended")
    assert desk.say("state.videos.every((video) => video.paused || video.ended)"), "both hold their last frame"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    page.keyboard.press("r")
    desk.until("state.frame > 25")
    desk.until("state.frame < 10")
    assert not desk.say("state.leader.paused")


def test_the_wipe_and_the_zoom_move_by_key(desk: Any, page: Page, grey: Grey) -> None:
    desk.arrive()
    left, right = apart(desk, grey)
    page.keyboard.press(",")  # there is nothing to move yet
    page.keyboard.press("w")
    assert boundary(seen(page), left, right) == pytest.approx(0.5, abs=0.02)
    for _ in range(5):
        page.keyboard.press(",")
    assert boundary(seen(page), left, right) == pytest.approx(0.3, abs=0.02)
    for _ in range(9):
        page.keyboard.press(".")
    assert boundary(seen(page), left, right) == pytest.approx(0.66, abs=0.02)
    page.keyboard.press("s")
    page.keyboard.press("z")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    styles = page.locator(f"{STAGE} video").evaluate_all(
        "(all) => all.map((one) => [getComputedStyle(one).transform, getComputedStyle(one).transformOrigin])"
    )
    assert styles[0] == styles[1] and styles[0][0] == "matrix(2, 0, 0, 2, 0, 0)"
    x, y = (float(length.removesuffix("px")) for length in styles[0][1].split())
    size = page.locator(f"{STAGE} video").first.evaluate("(video) => video.clientWidth")
    assert (x / size, y / size) == (pytest.approx(0.66, abs=0.01), pytest.approx(0.62, abs=0.01))


def test_a_finger_moves_the_wipe_and_starts_nothing(browser: Browser, watched: Any, desk: Any, grey: Grey) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(120_000)
    with contextlib.closing(context):
        desk.page = page = context.new_page()
        watched.watch(page)
        desk.arrive("tom")
        left, right = apart(desk, grey)
        page.locator("#label-desk [data-action=wipe]").tap()
        page.locator(f"{STAGE} .frame").first.scroll_into_view_if_needed()
        box = page.locator(f"{STAGE} .frame").first.bounding_box()
        assert box is not None
        finger = context.new_cdp_session(page)
        for kind, share in (("touchStart", 0.5), ("touchMove", 0.6), ("touchMove", 0.75), ("touchEnd", None)):
            points = (
                [] if share is None else [{"x": box["x"] + share * box["width"], "y": box["y"] + box["height"] / 2}]
            )
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        assert boundary(seen(page), left, right) == pytest.approx(0.75, abs=0.03)
        assert desk.say("state.leader.paused")


def test_the_next_three_pairs_are_there_before_they_are_asked_for(desk: Any, page: Page) -> None:
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url) if "/voting/clip/" in request.url else None)
    with page.expect_response("**/voting/next") as first:
        desk.arrive()
    wanted = {clip["url"] for pair in first.value.json()["pairs"] for clip in pair["clips"]}
    assert len(first.value.json()["pairs"]) == 4
    page.wait_for_function(
        "(count) => performance.getEntriesByType('resource').filter(one => "
        "one.name.includes('/voting/clip/')).length >= count",
        arg=len(wanted),
    )
    assert {url.removeprefix(desk.bench.address.rstrip("/")) for url in fetched} == wanted
    assert len(fetched) == len(wanted)  # none twice
