"""The System tab: devices read while somebody looks, a submitted download, and cleaning up after a yes."""

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.text import general
from app.text import system as text_system

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PANEL = "document.querySelector('#system-telemetry [id^=html]').telemetry"


@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any], root: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workbench on a machine whose `amd-smi` tells of a GPU."""
    tools = tmp_path_factory.mktemp("tools")
    recordings = root / "tests" / "fixtures" / "telemetry"
    metric, static = (recordings / name for name in ("amd-smi-7.2.1-mi300x.json", "amd-smi-static-10.1-mi300x.json"))
    tool = tools / "amd-smi"
    tool.write_text(f'#!/bin/sh\ncase "$1" in metric) cat {metric};; static) cat {static};; esac\n')
    tool.chmod(0o755)
    made = new_workbench()
    made.environment["PATH"] = f"{tools}:{made.environment['PATH']}"
    made.workspace.prepare()
    made.start()
    return made


@pytest.fixture
def system(page: Page, bench: Any) -> Page:
    page.goto(bench.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"))  # the page has loaded
    page.get_by_role("tab", name=text_system.SYSTEM, exact=True).click()
    expect(page.locator("#system-telemetry .device")).to_have_count(3)
    return page


def test_devices_are_shown_with_what_they_tell(system: Page) -> None:
    first, second = (system.locator("#system-telemetry .device").nth(index) for index in (0, 1))
    expect(first.locator("h4")).to_have_text("0: AMD Instinct MI300X")
    expect(first).to_contain_text("94 %")
    expect(first).to_contain_text("16.8 of 192 GiB")
    expect(first).to_contain_text("612 W")
    expect(second).to_contain_text(text_system.TELEMETRY_WORDS["not_told"])  # its power is N/A, not 0
    expect(system.locator("#system-telemetry .note")).to_have_text("Read from amd-smi.")
    expect(system.locator("#system-versions")).to_contain_text("gradio")
    expect(system.locator("#system-weights tbody tr").first).to_be_visible()


def test_numbers_come_over_time_and_only_while_somebody_looks(system: Page) -> None:
    system.wait_for_function(f"{PANEL}.rows.length >= 2")
    system.get_by_role("tab", name=general.LIBRARY, exact=True).click()
    system.wait_for_function("document.querySelector('#system-telemetry').offsetParent === null")
    system.wait_for_timeout(1000)
    asks = system.evaluate(f"{PANEL}.asks")
    system.wait_for_timeout(7000)
    assert system.evaluate(f"{PANEL}.asks") == asks


def test_a_gauge_is_taken_away_with_the_moments_and_the_name_of_its_device(system: Page) -> None:
    gauge = system.locator("#system-telemetry .device").first.locator(".gauge").first
    gauge.hover()
    with system.expect_download() as download:
        gauge.locator(".plot-files button", has_text="CSV").click()
    assert download.value.suggested_filename == "telemetry-0-amd-instinct-mi300x-use.csv"
    head, *rows = csv.reader(io.StringIO(Path(download.value.path()).read_text()))
    assert head == ["time", "Use (%)"]
    moments = [datetime.fromisoformat(at) for at, _ in rows]
    assert moments == sorted(moments) and abs((datetime.now(UTC) - moments[-1]).total_seconds()) < 60
    assert {use for _, use in rows} == {"94"}


def test_the_tab_is_worked_by_keyboard(system: Page, bench: Any) -> None:
    """Tab reaches every button; a question takes the focus, and its answer hands it back."""
    rest = bench.workspace.prompts / "encoded"
    rest.parent.mkdir(exist_ok=True)
    rest.write_bytes(b"x" * 1_500_000)
    system.get_by_role("tab", name=text_system.SYSTEM, exact=True).focus()
    tab_to(system, "#measure")
    system.keyboard.press("Enter")
    row = system.locator('#system-cleaning tr[data-key="prompts"]')
    expect(row).to_contain_text("1.5 MB")
    system.get_by_role("tab", name=text_system.SYSTEM, exact=True).focus()
    buttons = system.locator("#system-tab button:visible, #system-tab a[href]:visible").count()
    reached = [tab_to(system, "#system-tab") for _ in range(buttons)]
    assert len(set(reached)) == buttons
    system.get_by_role("tab", name=text_system.SYSTEM, exact=True).focus()
    tab_to(system, '#system-cleaning tr[data-key="prompts"] button')
    system.keyboard.press("Enter")
    expect(row.locator(".yes")).to_be_focused()
    system.keyboard.press("Tab")
    system.keyboard.press("Space")
    expect(row.get_by_role("button", name=text_system.CLEAN)).to_be_focused()
    assert rest.exists()
    system.keyboard.press("Enter")
    system.keyboard.press("Enter")
    expect(system.locator("#system-cleaning .note")).to_have_text("1.5 MB freed.")
    assert system.evaluate("document.activeElement.closest('#system-cleaning') !== null")


def tab_to(page: Page, selector: str) -> str:
    """Press Tab until the focus is there; the number of the element among those of the page."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("it => document.activeElement.closest(it) !== null", selector):
            return str(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    raise AssertionError(f"Tab does not reach {selector}")


def test_cleaning_up_asks_first(system: Page, bench: Any) -> None:
    precious = bench.workspace.prompts / "encoded"
    precious.parent.mkdir(exist_ok=True)
    precious.write_bytes(b"x" * 2_500_000)
    system.locator("#measure").click()
    row = system.locator('#system-cleaning tr[data-key="prompts"]')
    expect(row).to_contain_text("2.5 MB")
    row.get_by_role("button").click()
    expect(row).to_contain_text("Frees 2.5 MB.")
    row.get_by_role("button", name=text_system.TABLE_WORDS["no"]).click()
    assert precious.exists()
    row.get_by_role("button").click()
    row.get_by_role("button", name=text_system.TABLE_WORDS["really"]).click()
    expect(system.locator("#system-cleaning .note")).to_have_text("2.5 MB freed.")
    assert not precious.exists()
