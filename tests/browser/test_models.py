"""The list of models in the System tab, against a hub on loopback: download, cancel, resume, remove, token, offline."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general
from app.text import models as text
from app.text import system as text_system
from tests.stub_hub import TOKEN, StubHub, running_hub

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

NAME, WEIGHTS = "owner/small", "transformer/diffusion_pytorch_model.safetensors"
PRESET = """
title = "Small"
family = "ltx"
source = "owner/small"
dtype = "float32"
licence = "Apache-2.0"
download_gb = 0.02
width = 64
height = 64
num_frames = 17
fps = 8.0
num_steps = 4
guidance = 3.0
max_frames = 129
size_multiple = 16
"""


@pytest.fixture
def hub(model_folder: Path, tmp_path: Path) -> Iterator[StubHub]:
    """A hub that has the embedded model under another name."""
    shutil.copytree(model_folder, tmp_path / "repository")
    with running_hub() as hub:
        hub.add(NAME, tmp_path / "repository")
        yield hub


@pytest.fixture
def bench(new_workbench: Callable[..., Any], hub: StubHub, tmp_path: Path, page: Page, watched: Any) -> Iterator[Any]:
    """A workbench that asks this hub, with an empty cache; started by `opened`."""
    (tmp_path / "presets" / "models").mkdir(parents=True)
    (tmp_path / "presets" / "models" / "small.toml").write_text(PRESET)
    made = new_workbench(tmp_path / "presets")
    made.environment |= hub.environment(tmp_path / "home")
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "DAILIES_ALLOW_DOWNLOAD"):
        made.environment.pop(name, None)
    yield made
    hub.released.set()
    with watched.leaving():
        page.goto("about:blank")
    made.end()


@pytest.fixture
def opened(page: Page, bench: Any, watched: Any) -> Callable[[], Locator]:
    """`opened()`: start the page if necessary, open System, and return the row of the model `small`."""

    def open_system() -> Locator:
        if bench.process is None:
            bench.start()
        with watched.leaving():
            page.goto(bench.address)
        page.get_by_role("tab", name=text_system.SYSTEM, exact=True).click()
        row = page.locator('#system-models tr[data-key="small"]:not(.asked)')
        expect(row).to_be_visible()
        return row

    return open_system


def press(row: Locator, word: str) -> None:
    row.get_by_role("button", name=f"{text.LIST_WORDS[word]}: Small").click()


def answer(page: Page, word: str) -> None:
    """Press a button of the open question."""
    page.locator('#system-models tr.asked[data-key="small"]').get_by_role(
        "button", name=f"{text.LIST_WORDS[word]}: Small"
    ).click()


def group_of(page: Page) -> str | None:
    return page.locator("#system-models tbody", has=page.locator('tr[data-key="small"]')).get_attribute("data-group")


def test_a_download_is_cancelled_survives_a_reload_is_resumed_and_removed(
    page: Page, hub: StubHub, opened: Callable[[], Locator]
) -> None:
    row = opened()
    expect(row.locator(".state")).to_contain_text("not downloaded")
    assert group_of(page) == "missing"
    hub.hold[WEIGHTS] = 8192
    press(row, "get")
    question = page.locator("#system-models tr.asked")
    expect(question).to_contain_text("Licence: Apache-2.0.")
    expect(question).to_contain_text("Free disk:")
    answer(page, "back")
    expect(question).to_have_count(0)
    press(row, "get")
    answer(page, "get")
    assert hub.held.wait(120)
    expect(row.locator(".state")).to_contain_text("downloading")
    row = opened()  # a reload
    expect(row.get_by_role("progressbar")).to_be_visible()
    press(row, "cancel")
    expect(row.locator(".state")).to_contain_text("partly downloaded")
    hub.released.set()
    press(row, "resume")
    expect(question).to_contain_text("are here)")
    answer(page, "get")
    expect(row).to_have_attribute("data-state", "installed")
    assert group_of(page) == "installed"
    press(row, "remove")
    expect(question).to_contain_text("Frees ")
    answer(page, "confirm")
    expect(row.locator(".state")).to_contain_text("not downloaded")


def test_a_gated_model_takes_a_token_that_is_stored_for_the_user_only(
    page: Page, hub: StubHub, bench: Any, opened: Callable[[], Locator], tmp_path: Path
) -> None:
    hub.gated.add(NAME)
    row = opened()
    press(row, "get")
    question = page.locator("#system-models tr.asked")
    expect(question).to_contain_text("This model is gated: accept its licence at")
    field = page.locator('#system-models [name="token"]')
    expect(field).to_be_focused()
    field.fill("hf_wrong")
    field.press("Enter")
    expect(page.locator("#system-models .problem")).to_contain_text("The hub does not accept this access token")
    field.fill(TOKEN)
    field.press("Enter")
    expect(question).to_contain_text("Licence: Apache-2.0.")
    expect(field).to_have_value("")
    answer(page, "get")
    expect(row).to_have_attribute("data-state", "installed")
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holders and all(path.is_relative_to(tmp_path / "home") for path in holders)
    assert {path.stat().st_mode & 0o077 for path in holders} == {0}
    kept = [path for path in bench.folder.parent.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == [], "the workspace and the logs never have it"
    page.locator('#system-models [data-do="forget"]').click()
    expect(page.locator("#system-models .stored")).to_have_text(text.TOKENS["none"])


def test_offline_is_one_sentence_and_no_button(page: Page, bench: Any, opened: Callable[[], Locator]) -> None:
    bench.environment["HF_HUB_OFFLINE"] = "1"
    row = opened()
    expect(page.locator("#system-models .closed")).to_have_text(text.OFFLINE)
    expect(row.get_by_role("button")).to_have_count(0)


def test_a_hub_that_is_not_reached_is_named(
    page: Page, bench: Any, hub: StubHub, opened: Callable[[], Locator]
) -> None:
    bench.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    row = opened()
    press(row, "get")
    expect(page.locator("#system-models .problem")).to_contain_text(
        "The hub at http://127.0.0.1:9 cannot be reached for 'owner/small'"
    )


def test_the_forms_lead_to_the_list(page: Page, bench: Any, watched: Any) -> None:
    bench.start()
    for tab in (general.GENERATE, "Train"):
        with watched.leaving():
            page.goto(bench.address)
            watched.requests.wait()
        page.get_by_role("tab", name=tab, exact=True).click()
        page.get_by_role("link", name=text.MANAGE).and_(page.locator(":visible")).click()
        expect(page.locator('#system-models tr[data-key="small"]')).to_be_visible()
        expect(page.locator("#system-models .listing")).to_be_focused()


def test_a_local_folder_is_added_and_taken_from_the_list(
    opened: Callable[[], Locator], page: Page, bench: Any, tmp_path: Path, model_folder: Path
) -> None:
    shutil.copytree(model_folder, tmp_path / "local" / "mine")
    bench.arguments = (*bench.arguments, "--folder", str(tmp_path / "local"))
    opened()
    models = page.locator("#system-models")
    models.locator(".adding summary").click()
    models.locator('[name="place"]').fill(str(tmp_path / "nowhere"))
    models.locator('[name="key"]').fill("own")
    models.locator(".add [type=submit]").click()
    expect(models.locator(".problem")).to_contain_text("The page may not read")
    models.locator('[name="place"]').fill(str(tmp_path / "local" / "mine"))
    models.locator('[name="like"]').select_option("mini")
    models.locator(".add [type=submit]").click()
    expect(models.locator(".added")).to_contain_text("was added")
    row = models.locator('tr[data-key="own"]:not(.asked)')
    expect(row).to_have_attribute("data-state", "installed")
    row.locator("button").click()
    expect(models.locator("tr.asked")).to_contain_text(text.FORGET)
    models.locator("tr.asked .danger").click()
    expect(row).to_have_count(0)
    assert (tmp_path / "local" / "mine").is_dir()
