"""The Train tab: runs queued from the form, stopped, resumed, and found again when the page was killed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.text import general, monitor, training
from engine.runs.run import list_runs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

SHORT = """
title = "A short run"
algorithm = "nft"
model = "mini"
mix = "mini"
rewards = "total"
prompts = "mini"
source = "this test"
notes = "not measured"
[alarms]
every = 0
[settings]
num_frames = 9
width = 64
height = 64
num_steps = 1
guidance = 1.0
lora_rank = 2
max_steps = 2
num_generations = 2
per_device_train_batch_size = 2
gradient_accumulation_steps = 1
save_steps = 1
logging_steps = 1
sample_clips = 0
"""
MANY = "200"  # updates of a run that is to be stopped before its end
CURVES = "document.querySelector('#monitor-curves [id^=html]').curves"
LAST_STEP = f"({CURVES}.charts.get('loss')?.lines?.[0]?.x ?? []).at(-1) ?? 0"


@pytest.fixture(scope="module")
def bench(
    new_workbench: Callable[..., Any], model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A workbench with one more preset, which takes seconds."""
    folder = tmp_path_factory.mktemp("train-presets")
    for kind, name, words in (("train", "short", SHORT), ("models", "mini", f'source = "{model_folder}"\n')):
        (folder / kind).mkdir()
        (folder / kind / f"{name}.toml").write_text(words)
    made = new_workbench(folder)
    made.start()
    yield made
    made.end()


@pytest.fixture
def train(page: Page, bench: Any) -> Page:
    return arrive(page, bench)


def arrive(page: Page, bench: Any) -> Page:
    page.goto(bench.address)
    page.get_by_role("tab", name=training.TRAIN, exact=True).click()
    expect(setting(page, "max_steps")).to_be_visible()
    page.locator('#train-form select[name="preset"]').select_option("short")
    expect(setting(page, "num_steps")).to_have_value("1")
    return page


def setting(page: Page, name: str) -> Locator:
    return page.locator(f'#train-form [data-setting="{name}"]')


def do(page: Page, name: str) -> Locator:
    return page.locator(f'#train-form [data-do="{name}"]')


def queue_it(page: Page, number: int) -> str:
    """Queue the form's run; its id."""
    do(page, "queue").click()
    expect(page.locator("#train-board .run")).to_have_count(number)
    return page.locator("#train-form .note").inner_text().split()[1]


def run(page: Page, run_id: str) -> Locator:
    return page.locator(f'#train-board .run[data-id="{run_id}"]')


def kill(page: Page, run_id: str) -> None:
    """What cannot be taken back is pressed twice."""
    for _ in range(2):
        run(page, run_id).locator('[data-do="kill"]').click()


def state(page: Page, run_id: str, *states: str) -> None:
    expect(run(page, run_id)).to_have_attribute("data-state", re.compile("|".join(states)))


def test_the_form_follows_its_knobs(train: Page) -> None:
    expect(train.locator("#train-form .memory span")).to_contain_text("fits")
    expect(train.locator("#train-board .empty")).to_contain_text(training.BOARD_WORDS["runs_empty"])
    setting(train, "learning_rate").fill("1e-5")
    expect(train.locator(".setting.is-changed")).to_have_attribute("data-name", "learning_rate")
    do(train, "command").click()
    code = train.locator("#train-form .shell code")
    expect(code).to_have_text("dailies train short --set settings.learning_rate=1e-05 --queue")
    small = train.locator("#train-form .memory span").inner_text()
    setting(train, "per_device_train_batch_size").fill("512")
    expect(train.locator("#train-form .memory span")).not_to_have_text(small)
    train.locator('.setting[data-name="learning_rate"] [data-do="back"]').click()
    expect(code).to_have_text("dailies train short --set settings.per_device_train_batch_size=512 --queue")


def test_what_was_changed_is_put_back_by_keyboard_and_the_command_copied(train: Page) -> None:
    rate = setting(train, "learning_rate")
    before = rate.input_value()
    rate.fill("1e-5")
    back = train.locator('.setting[data-name="learning_rate"] [data-do="back"]')
    expect(back).to_have_accessible_name(re.compile("^learning_rate: Reset to"))
    expect(rate).to_have_accessible_name("Learning rate learning_rate")  # without the buttons beside it
    train.locator('.setting[data-name="learning_rate"] .name').click()
    expect(rate).to_be_focused()
    rate.press("Tab")
    expect(back).to_be_focused()
    train.keyboard.press("Enter")
    expect(rate).to_have_value(before)
    expect(rate).to_be_focused()
    do(train, "command").click()
    expect(train.locator("#train-form .shell code")).to_have_text("dailies train short --queue")
    train.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # plain HTTP, another host
    do(train, "copy").click()
    expect(do(train, "copy")).to_have_text(general.COPY_WORDS["done"])
    train.locator("#train-form .more summary").click()
    train.locator("#train-form .find").press("ControlOrMeta+V")
    expect(train.locator("#train-form .find")).to_have_value("dailies train short --queue")


def test_what_is_changed_besides_the_settings_is_marked_too(train: Page) -> None:
    assert setting(train, "num_frames").locator("xpath=..").locator(".unit").inner_text() == "frames"
    mix = train.locator('#train-form select[name="mix"]')
    mix.select_option("motion")
    expect(train.locator("#train-form .field.is-changed")).to_have_count(1)
    expect(train.locator("#train-form .field.is-changed select")).to_have_attribute("name", "mix")
    mix.select_option("mini")
    expect(train.locator("#train-form .field.is-changed")).to_have_count(0)


def test_a_reload_loses_nothing_that_was_typed(train: Page, watched: Any) -> None:
    setting(train, "learning_rate").fill("1e-5")
    train.locator("#train-form .more summary").click()
    setting(train, "save_steps").fill("7")
    train.locator('#train-form select[name="mix"]').select_option("motion")
    train.locator('#train-form [name="share"]').select_option("0.5")
    do(train, "command").click()
    said = (
        "dailies train short --set mix=motion --set settings.learning_rate=1e-05 --set settings.save_steps=7 "
        "--gpus 0.5 --queue"
    )
    expect(train.locator("#train-form .shell code")).to_have_text(said)
    with watched.leaving():
        train.reload()
    train.get_by_role("tab", name=training.TRAIN, exact=True).click()
    expect(train.locator('#train-form select[name="preset"]')).to_have_value("short")
    expect(setting(train, "save_steps")).to_be_visible()
    do(train, "command").click()
    expect(train.locator("#train-form .shell code")).to_have_text(said)
    expect(train.locator("#train-form .field.is-changed")).to_have_count(3)


def test_a_curriculum_shows_its_stages_and_is_queued(train: Page, bench: Any) -> None:
    train.locator("#queue .badge").click()
    train.locator('#queue [data-do="pause"]').click()
    expect(train.locator("#queue .paused")).to_be_visible()
    train.keyboard.press("Escape")
    train.locator('#train-form select[name="preset"]').select_option("curriculum:mini_lengths")
    stages = train.locator("#train-form .stages li")
    expect(stages).to_have_count(3)
    expect(stages.first).to_contain_text("33 frames")
    expect(stages.first).to_contain_text(training.FORM_WORDS["gate"])
    expect(setting(train, "max_steps")).to_be_hidden()
    expect(do(train, "check")).to_be_hidden()
    expect(train.locator("#train-form .memory span")).to_contain_text("Largest in stage")
    do(train, "command").click()
    expect(train.locator("#train-form .shell code")).to_have_text("dailies curriculum mini_lengths --queue")
    do(train, "queue").click()
    job = train.locator("#queue .jobs .job").filter(has_text="Curriculum")
    expect(job).to_contain_text("mini_lengths-")
    train.get_by_role("tab", name=monitor.MONITOR, exact=True).click()
    train.locator('#monitor-curves button[data-view="curriculum"]').click()
    expect(train.locator("#monitor-stages .stage")).to_have_count(3)
    train.get_by_role("tab", name=training.TRAIN, exact=True).click()
    train.locator("#queue .badge").click()
    job.locator('[data-do="cancel"]').click()
    expect(train.locator("#queue .jobs .job")).to_have_count(0)
    train.locator('#queue [data-do="go_on"]').click()
    train.keyboard.press("Escape")
    train.locator('#train-form select[name="preset"]').select_option("short")
    expect(setting(train, "max_steps")).to_be_visible()


def row(page: Page, name: str) -> Locator:
    return page.locator(f'#train-form .setting[data-name="{name}"]')


def test_nonsense_is_marked_at_its_field_and_cannot_be_queued(train: Page) -> None:
    setting(train, "max_steps").fill("<b>many</b>")
    setting(train, "lora_rank").fill("-1")
    expect(row(train, "max_steps").locator(".mistake")).to_have_text(
        "max_steps must be a whole number, but got '<b>many</b>'."
    )
    expect(row(train, "lora_rank").locator(".mistake")).to_contain_text("it must be")
    expect(setting(train, "lora_rank")).to_have_attribute("aria-invalid", "true")
    expect(train.locator("#train-form .problem")).to_contain_text("2 settings are invalid")
    expect(do(train, "queue")).to_be_disabled()
    setting(train, "lora_rank").fill("2")
    setting(train, "max_steps").fill("2")
    setting(train, "num_generations").fill("3")
    expect(row(train, "num_generations").locator(".mistake")).to_contain_text("does not divide the 2 clips")
    setting(train, "num_generations").fill("2")
    expect(train.locator("#train-form .problem")).to_be_hidden()
    expect(do(train, "queue")).to_be_enabled()


def test_each_setting_has_label_help_and_range_and_the_card_describes_model_and_data(train: Page) -> None:
    rank = row(train, "lora_rank")
    expect(rank.locator(".label")).to_have_text("LoRA rank")
    expect(rank.locator(".help")).to_contain_text("Range:")
    assert train.locator("#train-form .setting .help:text-is('')").count() == 0
    expect(train.locator("#train-form .does")).to_contain_text("(DiffusionNFT)")
    expect(train.locator("#train-form [data-fact=model]")).to_contain_text("installed")
    expect(train.locator("#train-form [data-fact=data]")).to_contain_text("2 clips per update in groups of 2")
    expect(do(train, "queue")).to_be_in_viewport()


def test_what_cannot_run_here_is_blocked_with_the_reason(train: Page) -> None:
    preset = train.locator('#train-form select[name="preset"]')
    preset.select_option("curriculum:seed_full")
    problem = train.locator("#train-form .problem")
    expect(problem).to_contain_text("cannot run here")
    expect(do(train, "queue")).to_be_disabled()
    expect(problem.locator("a")).to_have_text(training.FORM_WORDS["open_models"])
    preset.select_option("mini_dpo")
    expect(problem).to_contain_text("There is no folder or file data/mini-pairs")
    expect(problem.locator("a")).to_be_hidden()
    preset.select_option("short")
    expect(do(train, "queue")).to_be_enabled()


def watch_in_the_monitor(page: Page, run_id: str) -> None:
    """Its curves move by themselves, and the slider of checkpoints moves its clips beside the base's."""
    page.get_by_role("tab", name=monitor.MONITOR, exact=True).click()
    (row := page.locator(f'#monitor-curves [data-id="{run_id}"]')).locator("input").check()
    page.locator('#monitor-curves button[data-view="curves"]').click()
    page.locator("#monitor-curves [data-metric=loss]").scroll_into_view_if_needed()  # only what is seen is painted
    page.wait_for_function(f"{LAST_STEP} >= 2")
    at = page.evaluate(LAST_STEP)
    page.wait_for_function(f"{LAST_STEP} > {at}")
    row.locator(".pick").click()
    page.locator('#monitor-curves button[data-view="samples"]').click()
    slider, shown = page.locator("#monitor-samples .at input"), page.locator("#monitor-samples output")
    expect(slider).to_have_attribute("max", re.compile(r"^[1-9]"))
    captions = page.locator("#monitor-player .caption")
    slider.fill("0")
    expect(shown).to_have_text("Step 1")
    expect(captions.nth(0)).to_contain_text("Base")
    expect(captions.nth(1)).to_contain_text("Step 1")
    slider.fill("1")
    expect(shown).to_have_text("Step 2")
    expect(captions.nth(1)).to_contain_text("Step 2")
    page.get_by_role("tab", name=training.TRAIN, exact=True).click()


def test_two_runs_watched_stopped_resumed_and_found_again_after_the_page_was_killed(
    train: Page, bench: Any, watched: Any
) -> None:
    setting(train, "max_steps").fill(MANY)
    train.locator("#train-form .more summary").click()
    setting(train, "sample_clips").fill("1")
    expect(train.locator("#train-form .shell code")).to_contain_text("sample_clips=1")
    long = queue_it(train, 1)
    train.locator('.setting[data-name="max_steps"] [data-do="back"]').click()
    train.locator('.setting[data-name="sample_clips"] [data-do="back"]').click()
    short = queue_it(train, 2)
    state(train, long, "training")
    state(train, short, "queued")

    # A clip asked for meanwhile waits, and says for what.
    train.get_by_role("tab", name=general.GENERATE, exact=True).click()
    train.locator("#prompt textarea").fill("a large red circle moving left")
    train.locator("#generate").click()
    expect(train.locator("#generate-jobs .job")).to_contain_text(f"Waiting: run {long}")
    train.locator("#generate-jobs [data-do=cancel]").click()
    train.get_by_role("tab", name=training.TRAIN, exact=True).click()

    watch_in_the_monitor(train, long)

    # Stopped, with a checkpoint; the other one is trained to its end.
    expect(run(train, long).locator(".where")).to_have_text(re.compile(rf"^[1-9]\d* / {MANY}$"))
    run(train, long).locator('[data-do="stop"]').click()
    state(train, long, "stopping", "stopped")
    state(train, long, "stopped")
    found = {one.id: one for one in list_runs(bench.workspace)}
    assert found[long].last_checkpoint() is not None and not found[long].adapter.exists()
    state(train, short, "finished")

    # Resumed; the page is killed while it trains, and shows it again when it is back.
    done = found[long].metrics()[-1]["step"]
    run(train, long).locator('[data-do="resume"]').click()
    state(train, long, "training")
    bench.kill()
    bench.start()
    arrive(train, bench)
    state(train, long, "training")
    state(train, short, "finished")
    run(train, long).locator('[data-do="log"]').click()
    expect(train.locator("#train-board .log pre")).to_contain_text("preflight")
    train.locator("#train-board .log input").fill("no such words")
    expect(train.locator("#train-board .log pre")).to_have_text(training.BOARD_WORDS["log_empty"])
    kill(train, long)
    state(train, long, "killed")
    assert found[long].metrics()[-1]["step"] >= done, "it went on from its checkpoint"

    # More of the finished one.
    run(train, short).locator(".extending input").fill("1")
    run(train, short).locator('[data-do="extend"]').click()
    state(train, short, "queued", "training")
    state(train, short, "finished")
    assert [row["step"] for row in found[short].metrics()][-1] == 3
    watched.complaints[:] = [one for one in watched.complaints if "ERR_CONNECTION" not in one]  # while nobody answered


def test_small_runs_share_the_device_and_clips_go_on_beside_them(train: Page, bench: Any) -> None:
    already = train.locator("#train-board .run").count()
    setting(train, "max_steps").fill(MANY)
    train.locator('#train-form [name="share"]').select_option("0.33")
    expect(train.locator("#train-form .shell code")).to_contain_text("--gpus 0.33")
    first, second = queue_it(train, already + 1), queue_it(train, already + 2)
    state(train, first, "training")
    state(train, second, "training")
    train.get_by_role("tab", name=general.GENERATE, exact=True).click()
    train.locator("#prompt textarea").fill("a large red circle moving left")
    train.locator("#frames input[type=number]").fill("9")
    train.locator("#generate").click()
    expect(train.locator("#generate-facts .prompt")).to_have_text("a large red circle moving left")
    train.get_by_role("tab", name=training.TRAIN, exact=True).click()
    for one in (first, second):
        state(train, one, "training")
        kill(train, one)
        state(train, one, "killed")


def test_the_queue_is_ordered_paused_and_emptied(train: Page, bench: Any) -> None:
    queue, badge = train.locator("#queue-drawer"), train.locator("#queue .badge")
    badge.click()
    queue.locator('[data-do="pause"]').click()
    expect(queue.locator(".paused")).to_be_visible()
    train.keyboard.press("Escape")
    already = train.locator("#train-board .run").count()
    first, second = queue_it(train, already + 1), queue_it(train, already + 2)
    badge.click()
    jobs = queue.locator(".jobs .job .title")
    expect(jobs).to_have_count(2)
    expect(jobs.first).to_contain_text(first)
    queue.locator('.jobs .job [data-do="down"]').first.click()
    expect(jobs.first).to_contain_text(second)
    queue.locator('.jobs .job [name="priority"]').nth(1).select_option("high")
    expect(jobs.first).to_contain_text(first)
    for _ in range(2):  # it asks first
        queue.locator('[data-do="cancel_pending"]').click()
    expect(queue.locator(".jobs .job")).to_have_count(0)
    state(train, first, "new")
    queue.locator('[data-do="go_on"]').click()
    expect(queue.locator(".paused")).to_be_hidden()


def test_a_runs_settings_are_used_again_and_kept_as_a_preset(train: Page, bench: Any) -> None:
    train.locator('#train-board .run [data-do="clone"]').first.click()
    preset = train.locator('#train-form select[name="preset"]')
    expect(preset.locator("option:checked")).to_contain_text("Settings of run")
    setting(train, "learning_rate").fill("0.002")
    do(train, "save").click()
    train.locator('#train-form [name="key"]').fill("mine")
    do(train, "keep").click()
    expect(preset).to_have_value("mine")
    expect(setting(train, "learning_rate")).to_have_value("0.002")
    expect(train.locator(".setting.is-changed")).to_have_count(0)


def test_a_preset_is_checked_before_it_is_queued(train: Page) -> None:
    do(train, "check").click()
    verdicts = train.locator("#train-form .verdicts tbody tr")
    expect(train.locator("#train-form .verdicts")).to_contain_text("can make 9 frames")
    expect(verdicts.first).to_have_attribute("data-level", re.compile("ok|unknown|warning|stop"))
    expect(verdicts.first.locator(".result")).to_have_text(re.compile("Passed|Not checked|Warning|Error"))
