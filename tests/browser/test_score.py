"""The Score tab: many clips ranked, a video dropped and scored, a dip clicked, the player there."""

import csv
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general
from app.text import score as text
from engine.storage.library import Library
from tests.browser.conftest import add_clip

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ROWS = "#score-table tbody tr"
PLAYER = "document.querySelector('#score-player [id^=html]').player"


@pytest.fixture
def score(page: Page, archive: Any) -> Page:
    """The Score tab of a library of six drawn clips, five of them scored by the mix that is chosen."""
    page.goto(archive.address)
    page.get_by_role("tab", name=general.SCORE, exact=True).click()
    choose(page, "score-mix", "Embedded model")
    expect(page.locator(ROWS)).to_have_count(6)
    expect(page.locator(ROWS).first).to_contain_text("a red circle moving left")
    return page


def choose(page: Page, elem_id: str, label: str) -> None:
    """Pick from one of Gradio's dropdowns."""
    page.locator(f"#{elem_id} input").click()
    page.get_by_role("option", name=label, exact=True).click()


def test_table_and_details_agree_and_weights_become_a_mix(score: Page) -> None:
    score.locator("#score-table td.clip a").first.click()
    total = score.locator("#score-facts .total")
    expect(total.locator("b")).to_have_text("0.85")
    slider(score, "flow_smoothness").fill("0")
    row = score.locator(ROWS).filter(has_text="a red circle moving left")  # another clip is the first now
    expect(row.locator("td.total")).to_have_text("0.80")
    expect(total.locator("b")).to_have_text("0.80")
    expect(total.locator("small")).to_have_text(text.stored(0.9))
    save = score.locator("#score-weights .save")
    save.locator("input").fill("Without flow")
    save.locator("button").click()
    expect(score.locator("#score-weights .said")).to_have_text(text.saved("Without flow"))
    choose(score, "score-mix", "Without flow")
    expect(slider(score, "structure_constancy")).to_have_value("1")
    expect(score.locator('#score-weights [data-key="flow_smoothness"]')).to_have_count(0)


def test_a_row_names_its_model_and_why_a_reward_has_no_value(score: Page) -> None:
    row = score.locator(ROWS).filter(has_text="a red circle moving left")
    expect(row.locator("td.clip .file")).to_have_text("mini")
    lacks = row.locator("td.part", has_text=re.compile("^-$"))
    expect(lacks.first).to_have_attribute("title", re.compile("^(Not applicable: |Not scored$)"))
    assert "Not applicable: the clip is too short" in [cell.get_attribute("title") for cell in lacks.all()]


def slider(page: Page, key: str) -> Locator:
    return page.locator(f'#score-weights [data-key="{key}"] input')


def prompts(page: Page) -> list[str]:
    """The first line of each clip; its model is on the second."""
    return [line.split("\n")[0] for line in page.locator("#score-table td.clip").all_inner_texts()]


def test_moving_a_weight_ranks_the_clips_again(score: Page) -> None:
    first = score.locator(ROWS).first
    expect(first.locator("td.total")).to_have_text("0.85")
    disagreements = score.locator("#score-disagreement li")
    expect(disagreements).to_have_text(
        ["Structure constancy prefers “a green cross at night”; it disagrees on 100% of pairs."]
    )
    slider(score, "flow_smoothness").fill("0")
    expect(first.locator("td.total")).to_have_text("0.82")
    expect(first).to_contain_text("a green cross at night")
    expect(disagreements).to_have_text(
        ["Flow smoothness prefers “a red circle moving left”; it disagrees on 100% of pairs."]
    )
    score.locator("#score-weights [data-do=reset]").click()
    expect(first.locator("td.total")).to_have_text("0.85")
    expect(slider(score, "flow_smoothness")).to_have_value("1")


def test_the_table_is_sorted_by_any_column_and_exported(score: Page, tmp_path: Path) -> None:
    score.locator('#score-table [data-sort="clip"]').click()
    expect(score.locator('#score-table th[aria-sort="ascending"]')).to_have_text("Clip")
    shown = prompts(score)
    assert shown == sorted(shown, key=str.lower)
    with score.expect_download() as waiting:
        score.locator("#score-table [data-do=csv]").click()
    lines = list(csv.DictReader(Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()))
    assert [line["prompt"] for line in lines] == shown
    best = next(line for line in lines if line["prompt"] == "a red circle moving left")
    assert float(best["flow_smoothness"]) == 0.9 and best["loop_break"] == ""


def click_in_timeline(page: Page, share: float) -> None:
    """At a share of the clip's length, once its player runs."""
    plot = page.locator("#score-timeline .nsewdrag").first
    page.wait_for_function(f"{PLAYER}.state.leader?.currentTime > 0")
    box = plot.bounding_box()
    assert box is not None
    place = {"x": box["width"] * share, "y": box["height"] / 2}
    plot.hover(position=place)  # type: ignore[arg-type]
    plot.click(position=place)  # type: ignore[arg-type]


def test_clips_are_grouped_by_prompt(score: Page, archive: Any) -> None:
    store = Library(archive.workspace)
    worst = add_clip(store, "a red circle moving left", 9, 0.01)
    try:
        score.get_by_role("tab", name=general.LIBRARY, exact=True).click()
        score.get_by_role("tab", name=general.SCORE, exact=True).click()
        expect(score.locator(ROWS)).to_have_count(7)
        before, group = prompts(score), score.locator("#score-table [data-do=group]")
        group.click()
        expect(score.locator(f"{ROWS}.is-first")).to_have_count(6)
        again = before.index(before[0], 1)
        assert prompts(score) == [before[0], before[0], *before[1:again], *before[again + 1 :]]
        group.click()
        expect(score.locator(f"{ROWS}.is-first")).to_have_count(0)
    finally:
        store.delete([worst.id])
        store.close()


def test_a_dip_is_clicked_and_the_player_is_there(score: Page) -> None:
    score.locator("#score-table td.clip a").first.click()
    expect(score.locator("#score-facts .prompt")).to_have_text("a red circle moving left")
    expect(score.locator("#score-radar")).to_be_hidden()  # two rewards are no profile
    click_in_timeline(score, 1 / 4)
    score.wait_for_function(f"{PLAYER}.state.leader.paused && {PLAYER}.state.frame === 8")
    score.wait_for_function(f"Math.abs({PLAYER}.state.leader.currentTime - 8.5 / 8) < 0.01")


def test_clips_are_compared_in_one_profile(score: Page) -> None:
    for index in (0, 1):
        score.locator("#score-table td.pick input").nth(index).check()
    score.locator("#score-table [data-do=compare]").click()
    expect(score.locator("#score-player video")).to_have_count(2)
    expect(score.locator("#score-bars .js-plotly-plot")).to_be_visible()


def test_a_clip_is_starred_and_the_starred_are_a_set(score: Page) -> None:
    score.locator("#score-table td.clip a").first.click()
    score.locator("#score-facts [data-action=star_clip]").click()
    expect(score.locator("#score-facts [data-action=star_clip]")).to_have_text(
        general.ACTIONS_ONCE_STARRED["star_clip"]
    )
    choose(score, "which", general.WHICH_STARRED)
    expect(score.locator(ROWS)).to_have_count(1)
    score.locator("#score-facts [data-action=star_clip]").click()
    expect(score.locator("#score-facts [data-action=star_clip]")).to_have_text(general.ACTIONS["star_clip"])


# ---- Videos from outside
@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any]) -> Any:
    made = new_workbench()
    made.start()
    return made


@pytest.fixture
def videos_made(ffmpeg: str, tmp_path: Path) -> list[Path]:
    """A test picture that moves, the same in grey, and a file that is cut off."""
    paths = [tmp_path / name for name in ("a.mp4", "b.gif", "cut.gif")]
    for path, source in zip(paths, ("testsrc", "testsrc2", "testsrc2"), strict=True):
        picture = f"{source}=duration=2:size=96x64:rate=12"
        subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, str(path)], check=True)
    paths[2].write_bytes(paths[2].read_bytes()[: paths[2].stat().st_size // 2])
    return paths


def test_videos_are_dropped_scored_and_drawn(page: Page, bench: Any, videos_made: list[Path]) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=general.SCORE, exact=True).click()
    expect(page.locator("#score-table")).to_contain_text(general.TABLE_EMPTY[0])
    page.get_by_role("button", name=general.DROP, exact=True).click()
    page.locator("#score-files input[type=file]").set_input_files(videos_made)
    expect(page.locator("#score-files")).to_contain_text("cut")
    choose(page, "score-import-mix", "Motion")
    page.locator("#score-import").click()
    expect(page.locator(ROWS)).to_have_count(2, timeout=300_000)
    expect(page.locator("#score-table .failed li")).to_have_text(re.compile(r"^cut\.gif: "))
    expect(page.locator("#which input")).to_have_value(re.compile("^3 uploads, 2 clips"))
    expect(page.locator("#score-mix input")).to_have_value("Motion")
    assert sorted(page.locator("#score-table td.clip .prompt").all_inner_texts()) == ["a.mp4", "b.gif"]
    expect(page.locator("#score-notice")).to_be_hidden()
    choose(page, "score-mix", "Embedded model")
    expect(page.locator("#score-notice")).to_contain_text("2 of 2 clips here")
    choose(page, "score-mix", "Motion")
    page.locator("#score-table td.clip a").first.click()
    expect(page.locator("#score-bars .js-plotly-plot")).to_be_visible()
    click_in_timeline(page, 3 / 4)
    page.wait_for_function(f"{PLAYER}.state.leader.paused && Math.abs({PLAYER}.state.frame - 17) <= 1")
    page.get_by_role("button", name=general.DRAW_OVERLAYS).click()
    expect(page.locator("#score-player video")).to_have_count(2, timeout=300_000)
    drawn = page.locator("#overlay input").input_value()
    assert drawn != general.NO_OVERLAY
    expect(page.locator("#score-player .caption").nth(1)).to_have_text(drawn)
    choose(page, "overlay", general.NO_OVERLAY)
    expect(page.locator("#score-player video")).to_have_count(1)

    page.get_by_role("button", name=general.DROP, exact=True).click()
    page.locator("#score-files input[type=file]").set_input_files(videos_made[:2])
    expect(page.locator("#score-files")).to_contain_text("b")
    page.locator("#score-import").click()
    offer = page.locator("#score-table .imported-bar")
    expect(offer).to_contain_text(text.imported("2 uploads", 0), timeout=300_000)
    expect(page.locator("#which input")).to_have_value(re.compile("^3 uploads, 2 clips"))  # no jump
    offer.get_by_role("button", name=general.TABLE_WORDS["show"]).click()
    expect(page.locator("#which input")).to_have_value(re.compile("^2 uploads, 2 clips"))
    expect(offer).to_be_hidden()
