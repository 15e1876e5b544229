"""The Monitor's table of runs: facts, search, order, groups, notes, deletion, and settings in which runs differ."""

import math
import os
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import monitor
from engine.config.presets import load_train_preset
from engine.files.locks import try_lock
from engine.runs.run import Run
from engine.runs.run_notes import read_notes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

RATES = (0.0006, 0.01, 0.002)
REWARDS = (0.25, 0.75, 0.5)


@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any]) -> Any:
    made = new_workbench()
    made.workspace.prepare()
    made.start()
    return made


@pytest.fixture(scope="module")
def runs(bench: Any) -> list[Run]:
    """Three runs of one preset whose learning rates and rewards differ; the newest is the last one."""
    made = []
    for rate, reward in zip(RATES, REWARDS, strict=True):
        run = Run.create(bench.workspace, load_train_preset("mini_nft", {"settings": {"learning_rate": rate}}))
        for step in (1, 2, 3):
            run.append_metrics(step, {"reward": reward * step / 3, "at": 1e9 + 60 * step, "of": 40})
        made.append(run)
    return made


def opened(page: Page, bench: Any) -> Locator:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{bench.address}?tab=monitor")
    table = page.locator("#monitor-curves .runs")
    expect(table.locator(".run")).to_have_count(3)
    return table


def ids(table: Locator) -> list[str | None]:
    return [row.get_attribute("data-id") for row in table.locator(".run").all()]


def test_a_row_says_what_a_run_is_and_how_far(page: Page, bench: Any, runs: list[Run]) -> None:
    row = opened(page, bench).locator(f'[data-id="{runs[1].id}"]')
    expected = {
        "state": monitor.STATES["stopped"],
        "where": "3/40",
        "algorithm": "nft",
        "model": "mini",
        "changed": "learning_rate = 0.01",
        "reward": "0.750",
        "duration": "2 min",
    }
    for column, text in expected.items():
        expect(row.locator(f"td.{column}")).to_have_text(text)
    box = page.locator("#monitor-curves .groups").bounding_box()
    assert box is not None and box["y"] < 600, "the curves begin above the fold"


def test_runs_are_searched_and_sorted_also_after_a_reload(
    page: Page, bench: Any, runs: list[Run], watched: Any
) -> None:
    table = opened(page, bench)
    low, high, middle = (run.id for run in runs)
    assert ids(table) == [middle, high, low]  # the newest first
    by_reward = page.locator('#monitor-curves th[data-column="reward"]')
    by_reward.locator("button").click()
    expect(by_reward).to_have_attribute("aria-sort", "descending")
    assert ids(table) == [high, middle, low]
    by_reward.locator("button").click()
    assert ids(table) == [low, middle, high]
    page.locator("#monitor-curves .search").fill("0.002 NFT")
    expect(table.locator(".run")).to_have_count(1)
    assert ids(table) == [middle]
    page.locator("#monitor-curves .search").fill("nothing like this")
    expect(page.locator("#monitor-curves .no-match")).to_be_visible()
    page.locator("#monitor-curves .search").fill("")
    with watched.leaving():
        page.reload()
        expect(table.locator(".run")).to_have_count(3)
    expect(by_reward).to_have_attribute("aria-sort", "ascending")
    assert ids(table) == [low, middle, high]


def test_a_run_gets_a_name_and_tags(page: Page, bench: Any, runs: list[Run]) -> None:
    table = opened(page, bench)
    row = table.locator(f'[data-id="{runs[0].id}"]')
    row.locator(".edit").click()
    form = page.locator("#monitor-curves .describing")
    form.locator('[name="name"]').fill("  the careful one ")
    form.locator('[name="tags"]').fill("night, night, slow")
    form.locator('[name="text"]').fill("Lower rate, same seed")
    form.locator('[type="submit"]').click()
    expect(row.locator(".name")).to_have_text("the careful one")
    expect(row.locator(".id")).to_have_text(runs[0].id)
    expect(row.locator(".tag")).to_have_text(["night", "slow"])
    expect(row.locator(".note")).to_have_text("Lower rate, same seed")
    assert read_notes(runs[0]).text == "Lower rate, same seed"
    expect(form).to_be_hidden()
    assert (read_notes(runs[0]).name, read_notes(runs[0]).tags) == ("the careful one", ("night", "slow"))
    page.locator("#monitor-curves .search").fill("slow")
    expect(table.locator(".run")).to_have_count(1)
    page.locator("#monitor-curves .search").fill("")
    row.locator(".edit").click()
    form.locator('[name="tags"]').fill(",".join(str(number) for number in range(13)))
    form.locator('[type="submit"]').click()
    expect(page.locator("#monitor-curves .said")).to_contain_text("at most 12 tags")
    assert read_notes(runs[0]).tags == ("night", "slow")


def test_only_what_differs_is_compared(page: Page, bench: Any, runs: list[Run]) -> None:
    table = opened(page, bench)
    compare = page.locator('#monitor-curves [data-table="compare"]')
    page.locator('#monitor-curves [data-do="none"]').click()
    expect(compare).to_be_disabled()
    for run in runs[1:]:
        table.locator(f'[data-id="{run.id}"] input').check()
    compare.click()
    rows = page.locator("#monitor-curves .differences tbody tr")
    expect(rows).to_have_count(1)
    expect(rows.locator("th")).to_have_text("learning_rate")
    expect(rows.locator("td")).to_have_text(["0.01", "0.002"])
    page.locator('#monitor-curves [data-table="close"]').click()
    expect(rows).to_be_hidden()


def test_runs_are_grouped(page: Page, bench: Any, runs: list[Run]) -> None:
    table = opened(page, bench)
    page.locator("#monitor-curves .grouping").select_option("algorithm")
    expect(table.locator(".group-title:visible")).to_have_text(["nft (3)"])
    page.locator("#monitor-curves .grouping").select_option("")
    expect(table.locator(".group-title:visible")).to_have_count(0)


def test_a_deleted_run_is_brought_back_with_all_its_files(page: Page, bench: Any, runs: list[Run]) -> None:
    table = opened(page, bench)
    before = sorted((path.name, path.read_bytes()) for path in runs[1].folder.iterdir() if path.is_file())
    page.locator('#monitor-curves [data-do="none"]').click()
    table.locator(f'[data-id="{runs[1].id}"] input').check()
    page.locator('#monitor-curves [data-table="delete"]').click()
    expect(table.locator(".run")).to_have_count(2)
    assert not runs[1].folder.exists()
    undo = page.locator("#monitor-curves .deleted")
    expect(undo).to_contain_text(runs[1].id)
    undo.locator("button").click()
    expect(table.locator(".run")).to_have_count(3)
    expect(undo).to_be_hidden()
    assert sorted((path.name, path.read_bytes()) for path in runs[1].folder.iterdir() if path.is_file()) == before


def test_a_run_that_is_trained_is_not_deleted(page: Page, bench: Any, runs: list[Run]) -> None:
    table = opened(page, bench)
    page.locator('#monitor-curves [data-do="none"]').click()
    lock = try_lock(runs[0].lock)
    assert lock is not None
    table.locator(f'[data-id="{runs[0].id}"] input').check()
    page.locator('#monitor-curves [data-table="delete"]').click()
    expect(page.locator("#monitor-curves .said")).to_contain_text("is being trained: stop it first")
    os.close(lock)
    assert runs[0].resolved.is_file()


def test_curves_are_searched_and_drawn_over_clips_on_a_log_axis(page: Page, bench: Any, runs: list[Run]) -> None:
    opened(page, bench)
    page.locator('#monitor-curves [data-do="all"]').click()
    chart = page.locator('#monitor-curves [data-metric="reward"]')
    expect(chart).to_be_visible()
    page.locator("#monitor-curves .find-metric").fill("no such metric")
    expect(chart).to_be_hidden()
    page.locator("#monitor-curves .find-metric").fill("total rew")
    expect(chart).to_be_visible()
    page.locator('#monitor-curves [data-axis="clips"]').click()
    page.locator("#monitor-curves .log").click()
    curves = "document.querySelector('#monitor-curves [id^=html]').curves"
    page.wait_for_function(f"{curves}.charts.get('reward').log && {curves}.charts.get('reward').lines[0].x[0] === 64")
    low = page.evaluate(f"{curves}.charts.get('reward').lines.map(line => line.y[0]).sort()[0]")
    assert min(abs(low - math.log10(reward / 3)) for reward in REWARDS) < 1e-6
    page.locator("#monitor-curves .log").click()
    page.locator('#monitor-curves [data-axis="step"]').click()
