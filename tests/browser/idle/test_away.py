"""A server that does not answer: what was asked for is not shown as done, and the page says why."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from app.text import general, monitor, score, system
from engine.config.presets import load_train_preset
from engine.runs.run import Run
from engine.runs.run_notes import read_notes
from engine.storage.library import Library
from tests.browser.conftest import add_clip

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

ATTEMPTS = 4  # of a call without an answer, see app/scripts/requests.js
Away = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def runs(idle: Any) -> list[Run]:
    presets = [load_train_preset("mini_nft", {"settings": {"learning_rate": rate}}) for rate in (0.001, 0.002)]
    return [Run.create(idle.workspace, preset) for preset in presets]


def open_tab(page: Page, bench: Any, tab: str) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=tab, exact=True).click()


def said_of(page: Page, name: str, act: Callable[[], None]) -> None:
    """What the Monitor says once the page has given up its calls of the server's function `name`."""
    failed: list[Request] = []

    def is_given_up(request: Request) -> bool:
        if request.method == "POST" and (request.post_data_json or {}).get("fn_name") == name:
            failed.append(request)
        return len(failed) == ATTEMPTS

    with page.expect_event("requestfailed", is_given_up):
        act()
    expect(page.locator("#monitor-curves .said")).to_have_text(general.UNREACHABLE)


def test_a_run_keeps_its_former_name_until_the_server_has_the_new_one(
    page: Page, idle: Any, runs: list[Run], server_away: Away
) -> None:
    open_tab(page, idle, monitor.MONITOR)
    row = page.locator(f'#monitor-curves .run[data-id="{runs[0].id}"]')
    row.locator(".edit").click()
    form = page.locator("#monitor-curves .describing")
    form.locator('[name="name"]').fill("the careful one")
    with server_away():
        said_of(page, "describe", form.locator('[type="submit"]').click)
        expect(form).to_be_visible()
        expect(row.locator(".name")).to_have_text(runs[0].id)
    form.locator('[type="submit"]').click()
    expect(form).to_be_hidden()
    expect(row.locator(".name")).to_have_text("the careful one")
    assert read_notes(runs[0]).name == "the careful one"


def test_runs_that_are_not_compared_or_deleted_say_so(
    page: Page, idle: Any, runs: list[Run], server_away: Away
) -> None:
    open_tab(page, idle, monitor.MONITOR)
    there = page.locator("#monitor-curves")
    there.locator('[data-do="none"]').click()
    for run in runs:
        there.locator(f'[data-id="{run.id}"] input').check()
    expect(there.locator('[data-table="compare"]')).to_be_enabled()
    with server_away():
        said_of(page, "compare_settings", there.locator('[data-table="compare"]').click)
        said_of(page, "delete_runs", there.locator('[data-table="delete"]').click)
        expect(there.locator(".differences")).to_be_hidden()
        expect(there.locator(".deleted")).to_be_hidden()
    assert all(run.folder.is_dir() for run in runs)


def test_a_mix_that_is_not_saved_says_so(page: Page, idle: Any, server_away: Away) -> None:
    store = Library(idle.workspace)
    add_clip(store, "a red circle", 0, 0.5)
    store.close()
    open_tab(page, idle, general.SCORE)
    weights = page.locator("#score-weights")
    expect(weights.locator(".weight").first).to_be_visible()
    name, said = weights.locator(".save input"), weights.locator(".said")
    name.fill("Mine")
    with server_away():
        weights.locator(".save button").click()
        expect(said).to_have_text(general.UNREACHABLE)
        expect(name).to_have_value("Mine")
    weights.locator(".save button").click()
    expect(said).to_have_text(score.saved("Mine"))


def test_a_token_that_is_not_saved_says_so(page: Page, idle: Any, server_away: Away) -> None:
    open_tab(page, idle, system.SYSTEM)
    form, problem = page.locator("#system-models .token"), page.locator("#system-models .problem")
    form.locator('[name="token"]').fill("hf_none")
    with server_away():
        form.locator('[type="submit"]').click()
        expect(problem).to_have_text(general.UNREACHABLE)
        expect(form.locator('[name="token"]')).to_have_value("hf_none")
