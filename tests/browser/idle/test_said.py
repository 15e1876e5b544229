"""What the Monitor and the System tab say when something is wrong, and what is chosen when the runs kept are gone."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import monitor, system
from engine.config.curriculum_preset import CurriculumPreset
from engine.config.presets import load_train_preset
from engine.runs.curriculum_state import Curriculum, CurriculumState
from engine.runs.run import Run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

Problem = Callable[[str, str], AbstractContextManager[None]]
CURVES = "document.querySelector('#monitor-curves [id^=html]').curves"
KEPT = "JSON.parse(localStorage.getItem('dailies.monitor')).chosen"
SENTENCE = "The database is damaged: <b>move it away</b>."


def open_tab(page: Page, bench: Any, tab: str) -> None:
    page.goto(bench.address)
    page.get_by_role("tab", name=tab, exact=True).click()


def logged(bench: Any) -> Run:
    run = Run.create(bench.workspace, load_train_preset("mini_nft"))
    run.append_metrics(1, {"loss": 1.0})
    return run


def choose(page: Page, bench: Any, watched: Any, chosen: list[str]) -> None:
    """Open the Monitor as somebody who chose these runs some time ago."""
    with watched.leaving():
        page.goto(f"{bench.address}theme.css")  # the same storage, and nothing that writes it
        page.evaluate("chosen => localStorage.setItem('dailies.monitor', JSON.stringify({ chosen }))", chosen)
        page.goto(bench.address)
    page.get_by_role("tab", name=monitor.MONITOR, exact=True).click()


def test_chosen_runs_that_are_gone_are_forgotten(page: Page, idle: Any, watched: Any) -> None:
    there, newest = logged(idle), logged(idle)
    choose(page, idle, watched, [there.id, "mini_nft-gone01"])
    page.wait_for_function(f"{KEPT}.join() === '{there.id}'")
    page.wait_for_function(f"{CURVES}.charts.get('loss')?.lines?.length === 1")
    choose(page, idle, watched, ["mini_nft-gone01", "mini_nft-gone02"])
    page.wait_for_function(f"{CURVES}.charts.get('loss')?.lines?.[0]?.run === '{newest.id}'")
    expect(page.locator("#monitor-curves .empty")).to_be_hidden()


def curriculum(page: Page, idle: Any) -> Curriculum:
    """One that was interrupted, shown in Monitor."""
    gate = {"conditions": [{"metric": "seam", "at_least": 0.5}]}
    stage = {"name": "short", "preset": "mini_nft", "frames": 17, "gate": gate}
    preset = CurriculumPreset.model_validate({"key": "longer", "title": "Longer", "stages": [stage]})
    made = Curriculum.create(idle.workspace, preset)
    made.save(CurriculumState(stage=0, attempts=(), sentence="Training."))
    open_tab(page, idle, monitor.MONITOR)
    page.locator('#monitor-curves button[data-view="curriculum"]').click()
    expect(page.locator("#monitor-stages .stage")).to_have_count(1)
    return made


def test_an_interrupted_curriculum_is_abandoned_after_a_second_press(page: Page, idle: Any) -> None:
    made = curriculum(page, idle)
    button = page.locator("#monitor-stages .abandon")
    button.click()
    page.locator('#monitor-stages [data-do="keep"]').click()
    expect(button).to_have_text(monitor.STAGES_WORDS["abandon"])
    button.click()
    assert made.state().status == "running"
    button.click()
    expect(button).to_have_count(0)
    expect(page.locator("#monitor-stages .sentence")).to_have_text("Abandoned.")
    assert made.state().status == "stopped"
    made.discard()


def test_a_curriculum_says_what_keeps_it_from_being_read(page: Page, idle: Any, problem_of: Problem) -> None:
    made = curriculum(page, idle)
    problem = page.locator("#monitor-stages .problem")
    expect(problem).to_be_hidden()
    with problem_of("news", SENTENCE):
        expect(problem).to_have_text(SENTENCE)
        expect(page.locator("#monitor-stages .stage")).to_have_count(1)
    expect(problem).to_be_hidden()
    made.discard()


def test_the_devices_say_why_they_are_not_read(page: Page, idle: Any, problem_of: Problem) -> None:
    open_tab(page, idle, system.SYSTEM)
    note = page.locator("#system-telemetry .note")
    expect(note).not_to_be_empty()
    with problem_of("news", SENTENCE):
        expect(note).to_have_text(SENTENCE)
    expect(note).not_to_have_text(SENTENCE)
