"""The library: finding, opening, comparing in step, deleting and undoing, and videos from outside."""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general, score
from engine.config.presets import load_preset
from engine.storage.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

CARDS = "#library-grid .card"


@pytest.fixture
def library(page: Page, archive: Any) -> Iterator[Page]:
    """The Library tab, open; clips that a test deleted come back afterwards."""
    store = Library(archive.workspace)
    page.goto(archive.address)
    page.get_by_role("tab", name=general.LIBRARY).click()
    expect(page.locator(CARDS)).to_have_count(store.count())
    before = {record.id for record in deleted(store)}  # by tests of other files
    yield page
    store.restore([record.id for record in deleted(store) if record.id not in before])
    store.close()


def deleted(store: Library) -> list[Any]:
    from engine.storage.library import ClipFilter

    return store.clips(ClipFilter(deleted=True))


def choose(page: Page, elem_id: str, label: str) -> None:
    """Pick from one of Gradio's dropdowns."""
    page.locator(f"#{elem_id} input").click()
    page.get_by_role("option", name=label, exact=True).click()


def test_posters_play_while_the_pointer_rests_on_them(library: Page) -> None:
    card = library.locator(CARDS).first
    expect(card.locator("video")).to_have_count(0)
    card.locator(".thumb").hover()
    library.wait_for_function("document.querySelector('#library-grid .card video')?.currentTime > 0")
    library.locator("#search").hover()
    expect(card.locator("video")).to_have_count(0)


def test_filters_find_what_they_say(library: Page) -> None:
    cards = library.locator(CARDS)
    library.locator("#search input, #search textarea").fill("red left")
    expect(cards).to_have_count(1)
    library.get_by_role("button", name=general.CLEAR_FILTERS).click()
    expect(cards).to_have_count(6)
    choose(library, "order", general.ORDERS["best"])
    expect(cards.first).to_contain_text("0.90")
    library.locator("#score-from input").fill("0.45")
    expect(cards).to_have_count(3)
    library.locator("#search input, #search textarea").fill("nothing like this")
    expect(library.get_by_text(general.NOTHING_FOUND[0])).to_be_visible()


def test_the_clips_before_and_after_an_opened_one_are_a_press_away(library: Page) -> None:
    cards, facts = library.locator(CARDS), library.locator("#library-facts")
    second = cards.nth(1).locator(".prompt").inner_text()
    cards.first.locator(".thumb").click()
    expect(facts.locator(".prompt")).to_have_text("a red circle moving left")
    facts.get_by_role("button", name=general.FACTS_WORDS["next"]).click()
    expect(facts.locator(".prompt")).to_have_text(second)
    expect(cards.nth(1)).to_have_class(re.compile("is-current"))
    library.keyboard.press("k")
    expect(facts.locator(".prompt")).to_have_text("a red circle moving left")
    library.keyboard.press("k")  # there is none before the first
    library.keyboard.press("j")
    expect(facts.locator(".prompt")).to_have_text(second)


def test_many_clips_are_selected_at_once(library: Page) -> None:
    cards, count = library.locator(CARDS), library.locator("#library-grid .chosen-count")
    cards.nth(1).locator("input").check(force=True)
    cards.nth(3).locator("input").click(force=True, modifiers=["Shift"])
    expect(count).to_have_text("3 selected")
    for index in range(5):
        expect(cards.nth(index).locator("input")).to_be_checked(checked=1 <= index <= 3)
    library.locator("#library-grid [data-do=select_all]").click()
    expect(count).to_have_text("6 selected")
    library.locator("#library-grid [data-do=clear]").click()
    cards.first.locator(".thumb").focus()
    library.keyboard.press("Control+a")
    expect(count).to_have_text("6 selected")
    library.locator("#library-grid [data-do=clear]").click()


def test_clips_are_sorted_by_one_reward(library: Page) -> None:
    cards = library.locator(CARDS)
    choose(library, "order", score.best_by("Structure constancy"))
    expect(cards.first).to_contain_text("a green cross at night")
    choose(library, "order", score.best_by("Flow smoothness"))
    expect(cards.first).to_contain_text("a red circle moving left")


def test_a_clip_opens_with_everything_that_is_known_of_it(library: Page, archive: Any) -> None:
    library.locator(CARDS).first.locator(".thumb").click()
    expect(library.locator("#library-facts .prompt")).to_have_text("a red circle moving left")
    expect(library.locator("#library-facts .total b")).to_have_text("0.90")
    details = library.locator("#library-details")
    expect(details.locator(".rows")).to_contain_text("33 frames, 4.1 s at 8 FPS")
    expect(details.locator(".request pre")).to_contain_text('"seed": 1000')
    expect(library.locator("#library-bars .ytick text")).to_have_count(3)
    expect(library.locator("#library-timeline .playhead")).to_be_visible()
    with library.expect_download() as waiting:
        details.get_by_role("link", name=general.FACTS_WORDS["frames"]).click()
    assert Path(waiting.value.path()).read_bytes()[:4] == b"\x1a\x45\xdf\xa3"  # Matroska
    library.keyboard.press("Escape")
    expect(library.locator("#library-facts")).to_have_count(0)


def test_a_permalink_opens_its_clip(page: Page, archive: Any) -> None:
    store = Library(archive.workspace)
    record = next(clip for clip in store.clips() if clip.prompt == "a blue star bouncing")
    store.close()
    page.goto(f"{archive.address}clip/{record.id}")
    expect(page.locator("#library-facts .prompt")).to_have_text("a blue star bouncing")
    expect(page.get_by_role("tab", name=general.LIBRARY)).to_have_attribute("aria-selected", "true")


def test_what_a_person_typed_is_never_run(library: Page) -> None:
    card = library.locator(CARDS).filter(has_text="onerror")
    hostile = card.locator(".prompt").inner_text()
    assert "<img src=x onerror=alert(1)> ${alert(2)} {{this}} `" in hostile
    card.locator(".thumb").click()
    expect(library.locator("#library-facts .prompt")).to_have_text(hostile)
    expect(library.locator("#library-facts img")).to_have_count(0)


# ---- Side by side: the pictures tell which frame they are (see conftest)
PLAYER = "document.querySelector('#compare-player [id^=html]').player"


def compare(page: Page, *indices: int) -> None:
    for index in indices:
        page.locator(CARDS).nth(index).locator("input").check(force=True)
    page.locator("#library-grid [data-do=compare]").click()
    expect(page.locator("#compare-player video")).to_have_count(len(indices))
    page.wait_for_function(f"{PLAYER}.state.leader?.currentTime > 0")


def test_every_frame_is_shown_in_both_at_once(library: Page, greys: Callable[[Page, str], list[int]]) -> None:
    compare(library, 0, 1)
    library.evaluate(f"{PLAYER}.goTo(0)")
    wrong = []
    for frame in range(33):
        library.evaluate(f"{PLAYER}.goTo({frame})")
        library.wait_for_function(f"{PLAYER}.state.wanted === null")
        shown = greys(library, "#compare-player video")
        expected = [7 * frame, 7 * (32 - frame)]
        if any(abs(got - want) > 3 for got, want in zip(shown, expected, strict=True)):
            wrong.append((frame, shown, expected))
    assert wrong == []


def test_playing_clips_stay_in_step(library: Page) -> None:
    compare(library, 0, 2, 4)
    drifts = library.evaluate(
        f"""async () => {{
          const {{ videos }} = {PLAYER}.state, seen = [];
          for (let i = 0; i < 60; i++) {{
            await new Promise(requestAnimationFrame);
            const times = videos.map(video => video.currentTime);
            seen.push(Math.max(...times) - Math.min(...times));
          }}
          return seen;
        }}"""
    )
    assert sorted(drifts)[len(drifts) // 2] < 0.125  # half of them within one frame of 8 a second


def test_keys_drive_the_player_but_not_while_typing(library: Page) -> None:
    compare(library, 0, 1)
    library.keyboard.press("Space")
    library.wait_for_function(f"{PLAYER}.state.leader.paused")
    frame = library.evaluate(f"{PLAYER}.state.frame")
    library.keyboard.press("ArrowLeft" if frame else "ArrowRight")
    library.wait_for_function(f"{PLAYER}.state.frame !== {frame}")
    library.keyboard.press("w")
    expect(library.locator("#compare-player .stage")).to_have_attribute("data-view", "wipe")
    library.keyboard.press("f")
    library.keyboard.press("f")
    expect(library.locator("#compare-player figure").nth(1)).to_have_class(re.compile("is-front"))
    library.locator("#search input, #search textarea").focus()
    library.keyboard.press("d")
    expect(library.locator("#compare-player .stage")).to_have_attribute("data-view", "flip")


def test_a_key_can_be_changed_and_is_kept(library: Page, archive: Any) -> None:
    compare(library, 0, 1)
    library.locator("#compare-player summary").click()
    wipe = general.PLAYER_WORDS["actions"]["wipe"]
    row = library.locator("#compare-player .keyrow").filter(has=library.get_by_role("button", name=f"{wipe}: W"))
    row.locator("button").click()
    library.keyboard.press("q")
    expect(library.get_by_role("button", name=f"{wipe}: Q")).to_have_text("Q")
    expect(library.get_by_role("button", name=f"{wipe}: Q")).to_be_focused()
    library.locator("#compare-player summary").click()
    library.locator("#compare-player .stage").click()
    library.keyboard.press("q")
    expect(library.locator("#compare-player .stage")).to_have_attribute("data-view", "wipe")


def test_the_wipe_follows_the_pointer(library: Page) -> None:
    compare(library, 0, 1)
    library.locator("#compare-player [data-action=wipe]").click()
    frame = library.locator("#compare-player .frame").first
    box = frame.bounding_box()
    assert box is not None
    frame.hover(position={"x": box["width"] / 4, "y": box["height"] / 2}, force=True)  # either picture may lie on top
    share = library.evaluate(
        "parseFloat(document.querySelector('#compare-player .stage').style.getPropertyValue('--wipe'))"
    )
    assert abs(share - 25) < 1


# ---- Deleting
def test_deleted_clips_come_back(library: Page) -> None:
    cards = library.locator(CARDS)
    gone = [cards.nth(index).get_attribute("data-id") for index in (1, 2)]
    for index in (1, 2):
        cards.nth(index).locator("input").check(force=True)
    library.locator("#library-grid [data-do=remove]").click()
    expect(cards).to_have_count(4)
    expect(library.locator("#library-grid .undo-bar")).to_contain_text("Deleted 2 clips.")
    library.locator("#library-grid [data-do=undo]").click()
    expect(cards).to_have_count(6)
    assert [cards.nth(index).get_attribute("data-id") for index in (1, 2)] == gone


def test_the_grid_is_walked_by_keys(library: Page) -> None:
    library.locator(CARDS).first.locator(".thumb").focus()
    library.keyboard.press("ArrowRight")
    library.keyboard.press("x")
    expect(library.locator(CARDS).nth(1)).to_have_class(re.compile("is-chosen"))
    library.keyboard.press("Enter")
    expect(library.locator("#library-facts .prompt")).to_have_text("a red circle moving right")


# ---- Videos from outside
def upload(page: Page, path: Path, prompt: str = "") -> None:
    page.get_by_role("button", name=general.IMPORT, exact=True).click()
    page.locator("#upload input[type=file]").set_input_files(path)
    expect(page.locator("#upload")).to_contain_text(path.stem)
    page.locator("#upload-prompt textarea, #upload-prompt input").fill(prompt)
    choose(page, "upload-mix", load_preset("rewards", "mini").title)  # of the toy networks, which need no download
    page.locator("#import").click()


@pytest.mark.parametrize("suffix", ["mp4", "gif", "webm"])
def test_a_video_is_imported_and_scored(page: Page, new_archive: Any, ffmpeg: str, tmp_path: Path, suffix: str) -> None:
    video = tmp_path / f"ball.{suffix}"
    source = ["-f", "lavfi", "-i", "testsrc=duration=1:size=96x64:rate=12"]
    subprocess.run([ffmpeg, "-v", "error", *source, str(video)], check=True)
    page.goto(new_archive.address)
    page.get_by_role("tab", name=general.LIBRARY).click()
    upload(page, video, f"test bars as {suffix}")
    expect(page.locator("#library-facts .prompt")).to_have_text(f"test bars as {suffix}", timeout=180_000)
    # The rewards that read the prompt do not know its words, so its total is not comparable with others.
    expect(page.locator("#library-facts .total b")).to_have_text(score.UNRANKED)
    card = page.locator(CARDS).filter(has_text=f"test bars as {suffix}")
    expect(card.locator(".tag")).to_contain_text(general.IMPORTED)


def test_an_upload_whose_end_is_missing_is_one_sentence(
    page: Page, new_archive: Any, ffmpeg: str, tmp_path: Path
) -> None:
    """Its header is whole, so it is submitted; what follows is found to be cut off when it is read."""
    path = tmp_path / "cut.gif"
    source = ["-f", "lavfi", "-i", "testsrc=duration=2:size=96x64:rate=12"]
    subprocess.run([ffmpeg, "-v", "error", *source, str(path)], check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    page.goto(new_archive.address)
    page.get_by_role("tab", name=general.LIBRARY).click()
    upload(page, path, "cut off")
    job = page.locator("#library-jobs .job.is-bad").filter(has_text="cut off")
    expect(job).to_contain_text("'cut.gif' is damaged or cut off after about", timeout=180_000)


@pytest.fixture(scope="module")
def new_archive(new_workbench: Any) -> Any:
    """A workbench whose library is empty."""
    bench = new_workbench()
    bench.start()
    return bench


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [("empty.mp4", b"", "is empty"), ("words.mp4", b"no video " * 100, "not a video that can be read")],
)
def test_a_bad_upload_is_one_sentence(library: Page, tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    upload(library, path)
    expect(library.locator(".toast-body")).to_contain_text(sentence)
    expect(library.locator("#queue .jobs .job")).to_have_count(0)
