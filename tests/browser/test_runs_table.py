"""The Monitor's table of runs: facts, search, order, name and tags, and the settings in which runs differ."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import monitor
from engine.config.presets import load_train_preset
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
    form.locator('[type="submit"]').click()
    expect(row.locator(".name")).to_have_text("the careful one")
    expect(row.locator(".id")).to_have_text(runs[0].id)
    expect(row.locator(".tag")).to_have_text(["night", "slow"])
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
