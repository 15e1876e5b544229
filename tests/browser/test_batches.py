"""Adapters with a strength, the comparison with the base model, lists of prompts, and sweeps."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import batches, general
from engine.config.presets import load_preset
from engine.families.lora import save_adapter
from engine.families.registry import open_model
from engine.runs.adapters import AdapterCard, write_card

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
]

ADAPTERS = ("film-look", "motion")
TRIGGER = "in <b>motion</b> style"
TAKES = "#generate-takes"


@pytest.fixture(scope="module")
def studio(studio: Any, model_folder: Path) -> Any:
    """The running workbench, with two adapters of its model."""
    import torch
    from peft import LoraConfig

    for name in ADAPTERS:
        family = open_model(load_preset("models", "mini").model_copy(update={"source": str(model_folder)}))
        torch.manual_seed(1)
        targets = list(family.spec.lora_targets)
        config = LoraConfig(r=2, lora_alpha=4, target_modules=targets, init_lora_weights=False)
        family.network.add_adapter(config, adapter_name=name)
        save_adapter(family.network, name, studio.workspace.adapters / name)
        trigger = TRIGGER if name == ADAPTERS[1] else ""
        write_card(studio.workspace.adapters / name, AdapterCard(model="mini", trigger=trigger))
    return studio


def opened(page: Page, bench: Any, kind: str, prompt: str = "") -> Page:
    """The form, once it is itself, for one kind of batch."""
    page.goto(bench.address)
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"))
    page.get_by_label(dict((key, label) for label, key in batches.KINDS)[kind], exact=True).check()
    if prompt:
        page.locator("#prompt textarea").fill(prompt)
    return page


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} textarea, #{name} input").first


def test_words_that_the_model_does_not_know_are_named_before_it_generates(page: Page, studio: Any) -> None:
    unknown = re.compile("The model does not know these words and ignores them: .*dragon")
    opened(page, studio, "one", "a purple dragon flying")
    expect(page.locator("#batch-count")).to_have_text(unknown)
    page.locator("#prompt textarea").fill("a red ball")
    expect(page.locator("#batch-count").filter(has_text=unknown)).to_have_count(0)
    opened(page, studio, "list")
    page.locator("#prompts textarea").fill("a red ball\na green dragon")
    expect(page.locator("#batch-count")).to_have_text(unknown)
    opened(page, studio, "sweep", "a dragon")
    field(page, "sweep-column_values").fill("1, 3")
    field(page, "sweep-row_values").fill("1")
    expect(page.locator("#batch-count")).to_have_text(unknown)


def test_a_size_far_above_the_models_is_warned_of(page: Page, studio: Any) -> None:
    opened(page, studio, "one", "a red ball")
    page.get_by_text(general.MORE).click()
    page.locator("#width input").fill("4096")
    expect(page.locator("#batch-count")).to_contain_text("4096 x 64 px is 64 times the area")
    expect(page.locator("#generate")).to_be_enabled()


def test_the_trigger_text_of_an_adapter_is_shown_and_inserted(page: Page, studio: Any) -> None:
    opened(page, studio, "one", "a green heart growing at night")
    triggers, prompt = page.locator("#adapters .triggers"), page.locator("#prompt textarea")
    select = page.locator("#adapters .row select").first
    select.select_option(ADAPTERS[0])
    expect(triggers).to_be_hidden()
    select.select_option(ADAPTERS[1])
    expect(triggers).to_contain_text(f"Prompts need “{TRIGGER}” for the effect of {ADAPTERS[1]}.")
    triggers.locator("[data-do=insert]").click()
    expect(prompt).to_have_value(f"a green heart growing at night, {TRIGGER}")
    expect(triggers).to_be_hidden()
    prompt.fill(TRIGGER.upper())
    expect(triggers).to_be_visible()


def test_adapters_have_strengths_and_a_clip_is_compared_with_the_base(page: Page, studio: Any) -> None:
    opened(page, studio, "one", "a green heart growing at night")
    rows, problem = page.locator("#adapters .row"), page.locator("#adapters .problem")
    rows.first.locator("select").select_option(ADAPTERS[0])
    page.locator("#adapters [data-do=add]").click()
    expect(rows).to_have_count(2)
    rows.nth(1).locator("select").select_option(ADAPTERS[0])
    expect(problem).to_contain_text("is listed twice")
    expect(rows.nth(1).locator("select")).to_have_attribute("aria-invalid", "true")
    rows.nth(1).locator("select").select_option(ADAPTERS[1])
    rows.nth(1).locator("input").fill("11")
    expect(problem).to_have_text(general.ADAPTER_WORDS["range"])
    rows.nth(1).locator("[data-do=remove]").click()
    expect(problem).to_be_hidden()
    rows.first.locator("input").fill("0.5")
    page.locator("#generate").click()
    caption = page.locator("#generate-player .caption")
    expect(caption).to_contain_text(f"mini + {ADAPTERS[0]} 0.5")
    seed = re.search(r"seed \d+", caption.inner_text())
    page.get_by_role("button", name=general.ACTIONS["compare_base"]).click()
    expect(page.locator("#generate-player video")).to_have_count(2)
    assert sorted(ADAPTERS[0] in text for text in caption.all_inner_texts()) == [False, True]
    assert seed is not None and all(seed[0] in text for text in caption.all_inner_texts())


def test_a_file_of_prompts_is_one_job_and_its_clips_have_an_address(page: Page, studio: Any, tmp_path: Path) -> None:
    opened(page, studio, "list")
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,negative\na red star falling,\na blue ball rising,blurry\n")
    with page.expect_file_chooser() as choosing:
        page.locator("#prompts-file").click()
    choosing.value.set_files(path)
    expect(field(page, "prompts")).to_have_value(re.compile(r'^a red star falling\n\{.*"negative_prompt": "blurry"'))
    expect(page.locator("#batch-count")).to_contain_text("2 clips (2 prompts)")
    page.locator("#generate").click()
    expect(page.locator(f"{TAKES} .card")).to_have_count(2)
    expect(page.locator(f"{TAKES} .card .prompt")).to_have_text(["a red star falling", "a blue ball rising"])
    page.wait_for_url(re.compile(r"sweep=\w{8}"))


def test_a_sweep_is_a_grid_that_is_compared_and_opened_again(page: Page, studio: Any, watched: Any) -> None:
    opened(page, studio, "sweep", "a yellow square moving up")
    field(page, "sweep-column_values").fill("1, x")
    expect(page.locator("#batch-count .is-problem")).to_contain_text("must be numbers, but got 'x'")
    field(page, "sweep-column_values").fill("1, 3")
    field(page, "sweep-row_values").fill("5, 6")
    expect(page.locator("#batch-count")).to_contain_text("4 clips (2 guidance values x 2 seeds)")
    page.locator("#generate").click()
    names = page.locator(f"{TAKES} .axis")
    expect(names).to_have_text(["Seed / Guidance", "1", "3", "5", "6"])
    cards = page.locator(f"{TAKES} .card")
    expect(cards).to_have_count(4)
    cards.nth(3).locator(".thumb").click()
    expect(page.locator("#generate-player .caption")).to_contain_text("seed 6")
    for index in (0, 1):
        cards.nth(index).locator("input").check(force=True)
    page.locator(f"{TAKES} [data-do=compare]").click()
    captions = page.locator("#generate-player .caption")
    expect(captions).to_have_text([re.compile("Guidance: [13]"), re.compile("Guidance: [13]")])
    page.wait_for_url(re.compile(r"sweep=\w{8}"))
    with watched.leaving():
        page.reload()
    expect(names).to_have_count(5)
    expect(cards).to_have_count(4)
