"""The Monitor: curves that appear and move, alarms on them, one slider that moves the clips, and no ticking unseen."""

import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from app.plots.scores import SERIES
from app.text import general, monitor, training
from engine.config.presets import load_train_preset
from engine.families.lora_files import WEIGHTS_FILE
from engine.files.locks import try_lock
from engine.jobs.handlers.train import publish
from engine.jobs.queue import JobQueue
from engine.request import GenerationRequest
from engine.runs.results import Alarm, Evaluation, Interval, Measure, Role
from engine.runs.run import Run
from engine.runs.samples import RunSamples
from engine.storage.library import Library
from rewards import Clip

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

CURVES = "document.querySelector('#monitor-curves [id^=html]').curves"
PLAYER = "document.querySelector('#monitor-player [id^=html]').player"
PROMPTS = ("a red circle", "a blue star")
OTHER = f"{CURVES}.charts.get('reward')"
SEEN = "document.querySelector('#monitor-curves').offsetParent !== null"


@pytest.fixture(scope="module")
def bench(new_workbench: Callable[..., Any]) -> Any:
    made = new_workbench()
    made.workspace.prepare()
    made.start()
    return made


def log(run: Run, first: int, last: int) -> None:
    for step in range(first, last + 1):
        run.append_metrics(step, {"loss": 1 / step, "reward": step / 10, "at": 1e9 + 60 * step, "of": 40})


@contextmanager
def trained(run: Run) -> Iterator[None]:
    """As while a process trains it."""
    lock = try_lock(run.lock)
    assert lock is not None
    yield
    os.close(lock)


def sample(run: Run, step: int | None) -> None:
    """A set whose clips are one even grey: of the base 20, of a step 20 more than it has steps."""
    requests = [GenerationRequest(prompt=prompt, seed=seed) for seed, prompt in enumerate(PROMPTS)]
    kept = RunSamples(run)
    kept.keep_requests(requests)
    clips = [
        Clip(
            frames=np.full((9, 64, 64, 3), 20 + 4 * (step or 0) + 90 * index, np.uint8), fps=8.0, prompt=request.prompt
        )
        for index, request in enumerate(requests)
    ]
    kept.save(step, clips, [request.seed for request in requests], [None, None])


@pytest.fixture
def runs(bench: Any) -> list[Run]:
    """Two runs, the second one sampled; each test has its own."""
    made = [Run.create(bench.workspace, load_train_preset("mini_nft")) for _ in range(2)]
    for run in made:
        log(run, 1, 5)
    for step in (None, 2, 4):
        sample(made[1], step)
    return made


def opened(page: Page, bench: Any, runs: list[Run]) -> Page:
    """The Monitor with these runs ticked, and the last of them looked at."""
    page.goto(bench.address + "favicon.ico")  # an address whose storage is the page's
    chosen = [run.id for run in runs]
    page.evaluate("runs => localStorage.setItem('dailies.monitor', JSON.stringify({chosen: runs}))", chosen)
    page.goto(bench.address)
    page.get_by_role("tab", name=monitor.MONITOR, exact=True).click()
    page.wait_for_function(f"{CURVES}.charts.get('loss')?.lines?.length === {len(runs)}")
    page.locator(f'#monitor-curves [data-id="{chosen[-1]}"] .pick').click()
    expect(page.locator(f'#monitor-curves [data-id="{chosen[-1]}"].is-looked')).to_have_count(1)
    return page


def view(page: Page, name: str) -> None:
    page.locator(f'#monitor-curves button[data-view="{name}"]').click()


def see_the_loss(page: Page) -> None:
    """Only what is seen is painted."""
    page.locator('#monitor-curves [data-metric="loss"]').scroll_into_view_if_needed()


def test_curves_appear_and_move_with_the_run(page: Page, bench: Any, runs: list[Run]) -> None:
    see_the_loss(opened(page, bench, runs))
    page.wait_for_function(f"{CURVES}.charts.get('loss').lines.every(line => line.x.at(-1) === 5)")
    log(runs[0], 6, 12)
    page.wait_for_function(
        f"{CURVES}.charts.get('loss').lines.some(line => line.x.at(-1) === 12 && line.x.length === 12)"
    )
    row = page.locator(f'#monitor-curves [data-id="{runs[0].id}"]')
    expect(row.locator(".state")).to_have_text("not finished")
    expect(row.locator(".where")).to_have_text("12/40")
    with trained(runs[0]):
        expect(row.locator(".state")).to_have_text("training")
    drawn = page.evaluate(
        f"""() => {{ const canvas = {CURVES}.charts.get('loss').canvas, pen = canvas.getContext('2d');
        return pen.getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0); }}"""
    )
    assert drawn
    row.locator("input").uncheck()
    page.wait_for_function(f"{CURVES}.charts.get('loss').lines.length === 1")


def test_the_axis_and_smoothing(page: Page, bench: Any, runs: list[Run]) -> None:
    see_the_loss(opened(page, bench, runs))
    page.locator("#monitor-curves [data-axis=time]").click()
    see_the_loss(page)
    page.wait_for_function(f"{CURVES}.charts.get('loss')?.lines[0]?.x.at(-1) === 4")
    page.locator("#monitor-curves .smoothing input").fill("0.9")
    page.wait_for_function(f"{CURVES}.charts.get('reward')?.lines[0]?.y.at(-1) < 0.45")
    page.locator("#monitor-curves [data-axis=step]").click()
    see_the_loss(page)
    page.wait_for_function(f"{CURVES}.charts.get('loss')?.lines[0]?.x.at(-1) === 5")


def taken(page: Page, kind: str) -> Any:
    chart = page.locator('#monitor-curves [data-metric="loss"]')
    chart.scroll_into_view_if_needed()
    chart.hover()
    with page.expect_download() as download:
        chart.locator(".plot-files button", has_text=kind).click()
    return download.value


def test_a_curve_is_taken_away_as_it_was_logged_and_as_it_is_drawn(page: Page, bench: Any, runs: list[Run]) -> None:
    opened(page, bench, runs)
    page.locator("#monitor-curves .smoothing input").fill("0.5")
    head, *rows = csv.reader(io.StringIO(Path(taken(page, "CSV").path()).read_text()))
    assert head == ["run", "step", "loss", "smoothed"]
    assert [row[:2] for row in rows] == [[run.id, str(step)] for run in runs for step in range(1, 6)]
    assert [float(row[2]) for row in rows[:5]] == [1 / step for step in range(1, 6)]
    assert float(rows[1][3]) == pytest.approx((0.5 * 0.5 + 0.25 * 1) / 0.75)


def test_a_picture_of_several_curves_says_which_is_which(page: Page, bench: Any, runs: list[Run]) -> None:
    opened(page, bench, runs)
    with Image.open(taken(page, "PNG").path()) as picture:
        legend = picture.convert("RGB").crop((0, picture.height - 18 * len(runs), 40, picture.height))
        swatches = {legend.getpixel((20, 18 * index + 8)) for index in range(len(runs))}
    wanted = {tuple(bytes.fromhex(colour.lstrip("#"))) for colour in SERIES[: len(runs)]}
    assert swatches == wanted


def test_samples_can_be_taken_away(page: Page, bench: Any, runs: list[Run]) -> None:
    view(opened(page, bench, runs), "samples")
    links = page.locator("#monitor-samples .files a")
    expect(links).to_have_text(["Download Base", "Download Step 4"])
    with page.expect_download() as download:
        links.last.click()
    assert download.value.suggested_filename == f"{runs[1].id}-00000004-0.mp4"
    assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"


def test_a_reload_looks_at_the_same_run(page: Page, bench: Any, runs: list[Run], watched: Any) -> None:
    opened(page, bench, runs)
    page.locator(f'#monitor-curves [data-id="{runs[0].id}"] .pick').click()
    expect(page).to_have_url(re.compile(rf"tab=monitor&run={runs[0].id}|run={runs[0].id}&tab=monitor"))
    with watched.leaving():
        page.reload()
    expect(page.locator("#monitor-samples .run")).to_have_text(runs[0].id)
    expect(page.locator(f'#monitor-curves [data-id="{runs[0].id}"].is-looked')).to_have_count(1)


def test_one_place_is_pointed_at_in_all_charts_and_alarms_are_marked(page: Page, bench: Any, runs: list[Run]) -> None:
    runs[1].append_alarm(Alarm(step=3, name="motion", sentence="Motion fell by half.", value=0.1, limit=0.2))
    opened(page, bench, runs)
    expect(page.locator('#monitor-curves button[data-view="alarms"]')).to_have_text("Alarms (1)")
    view(page, "alarms")
    expect(page.locator("#monitor-curves .alarms li")).to_contain_text("Motion fell by half.")
    view(page, "curves")
    canvas = page.locator('#monitor-curves [data-metric="loss"] canvas')
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.wait_for_function(f"{OTHER}?.lines?.length === 2")
    page.evaluate(f"() => {{ window.before = {OTHER}.canvas.toDataURL(); }}")
    canvas.hover(position={"x": 46 + (box["width"] - 52) / 2, "y": 60})
    page.wait_for_function(f"{OTHER}.canvas.toDataURL() !== window.before")  # its own line at that place
    tip = page.locator('#monitor-curves [data-metric="loss"] .tip')
    expect(tip).to_contain_text("step 3")
    expect(tip).to_contain_text("Motion fell by half.")
    assert 2.9 < page.evaluate(f"{CURVES}.state.hover") < 3.1
    page.mouse.move(0, 0)
    page.wait_for_function(f"{OTHER}.canvas.toDataURL() === window.before")


def test_the_slider_moves_the_clips_beside_the_base(
    page: Page, bench: Any, runs: list[Run], greys: Callable[[Page, str], list[int]]
) -> None:
    view(opened(page, bench, runs), "samples")
    captions, slider = page.locator("#monitor-player .caption"), page.locator("#monitor-samples .at input")
    expect(captions).to_have_count(2)
    expect(captions.nth(0)).to_contain_text("Base")
    expect(captions.nth(1)).to_contain_text("Step 4")
    page.wait_for_function(f"{PLAYER}.state.videos.length === 2 && {PLAYER}.state.leader.currentTime > 0")
    assert greys(page, "#monitor-player video") == pytest.approx([20, 36], abs=6)
    slider.fill("0")
    expect(captions.nth(1)).to_contain_text("Step 2")
    expect(page.locator("#monitor-samples output")).to_have_text("Step 2")
    page.wait_for_function(f"{PLAYER}.state.clips[1].id.includes('00000002') && {PLAYER}.state.leader.currentTime > 0")
    assert greys(page, "#monitor-player video") == pytest.approx([20, 28], abs=6)
    page.locator("#monitor-samples select").select_option("1")
    page.wait_for_function(f"{PLAYER}.state.clips[1].id.endsWith('1.mp4') && {PLAYER}.state.leader.currentTime > 0")
    assert greys(page, "#monitor-player video") == pytest.approx([110, 118], abs=6)


def test_ticked_runs_are_compared_by_samples_of_the_same_prompt_and_seed_and_by_evaluations(
    page: Page, bench: Any, runs: list[Run]
) -> None:
    sample(runs[0], 3)
    for run in runs:
        measured(run)
    view(opened(page, bench, runs), "samples")
    captions = page.locator("#monitor-player .caption")
    expect(captions).to_have_count(3)
    expect(captions.nth(2)).to_contain_text(runs[0].id)
    expect(captions.nth(2)).to_contain_text("Step 3")
    view(page, "evaluation")
    table = page.locator("#monitor-findings .compared")
    expect(table.locator("thead th")).to_have_text(["Measure", runs[1].id, runs[0].id])
    expect(table.locator("tbody tr").first).to_contain_text("0.560 (+0.060)")


def test_new_samples_come_by_themselves(page: Page, bench: Any, runs: list[Run]) -> None:
    view(opened(page, bench, runs), "samples")
    expect(page.locator("#monitor-samples output")).to_have_text("Step 4")
    sample(runs[1], 5)
    expect(page.locator("#monitor-samples output")).to_have_text("Step 5")
    page.locator("#monitor-samples [data-by='-1']").click()
    expect(page.locator("#monitor-samples output")).to_have_text("Step 4")
    sample(runs[1], 6)  # who looks at an older set stays there
    expect(page.locator("#monitor-samples .at input")).to_have_attribute("max", "3")
    expect(page.locator("#monitor-samples output")).to_have_text("Step 4")


def test_the_adapter_can_be_used_when_the_run_that_is_watched_ends(page: Page, bench: Any, runs: list[Run]) -> None:
    with trained(runs[1]):
        view(opened(page, bench, runs), "samples")
        expect(page.locator("#monitor-samples output")).to_have_text("Step 4")
        expect(page.locator("#monitor-samples .use")).to_be_hidden()
        give_adapter(runs[1])
        publish(runs[1], bench.workspace)
    expect(page.locator("#monitor-samples .use")).to_be_visible()


def give_adapter(run: Run) -> None:
    run.adapter.mkdir()
    (run.adapter / WEIGHTS_FILE).write_bytes(b"torn")


def test_sample_now_reaches_the_process_that_trains(page: Page, bench: Any, runs: list[Run]) -> None:
    with trained(runs[1]):
        view(opened(page, bench, runs), "samples")
        page.locator("#monitor-samples .now").click()
        expect(page.locator("#monitor-samples .note")).to_have_text(monitor.SAMPLES_WORDS["asked"])
        assert RunSamples(runs[1]).take_request()


def test_a_hidden_tab_does_not_tick(page: Page, bench: Any, runs: list[Run]) -> None:
    opened(page, bench, runs)
    asks = page.evaluate(f"{CURVES}.state.asks")
    page.wait_for_function(f"{CURVES}.state.asks > {asks}")
    page.get_by_role("tab", name=general.LIBRARY, exact=True).click()
    page.wait_for_function(f"!({SEEN})")
    page.wait_for_timeout(500)  # what was under way comes back
    asks = page.evaluate(f"{CURVES}.state.asks")
    page.wait_for_timeout(5000)
    assert page.evaluate(f"{CURVES}.state.asks") == asks
    page.get_by_role("tab", name=monitor.MONITOR, exact=True).click()
    page.wait_for_function(f"{CURVES}.state.asks > {asks}")


def span(mean: float, half: float) -> Interval:
    return Interval(mean=mean, low=mean - half, high=mean + half, of=12)


def measured(run: Run) -> None:
    """As an evaluation leaves it: the judge rose, a held-out reward fell, a metric did neither."""
    told: tuple[tuple[str, Role, float, float], ...] = (
        ("monitor/t_lpips", "monitor", 0.0, 0.05),
        ("structure_constancy", "held_out", -0.1, 0.02),
        ("judge", "judge", 0.06, 0.03),
    )
    measures = tuple(
        Measure(
            name=name,
            role=role,
            wanted="up",
            before=span(0.5, 0.1),
            after=span(0.5 + change, 0.1),
            change=span(change, half),
            ratio=span(1 + 2 * change, 0.1),
        )
        for name, role, change, half in told
    )
    sides: dict[str, float | int | str | None] = {"num_steps": 8, "guidance": 1.0, "adapter": None}
    run.save_evaluation(
        Evaluation(
            run=run.id,
            step=5,
            mix="mini",
            prompts=12,
            takes=2,
            num_frames=17,
            before=sides,
            after=sides,
            seconds_before=0.2,
            seconds_after=0.2,
            measures=measures,
        )
    )


def test_what_a_run_changed_is_measured_and_shown(page: Page, bench: Any, runs: list[Run]) -> None:
    measured(runs[1])
    view(opened(page, bench, runs), "evaluation")
    sheet = page.locator("#monitor-findings")
    expect(sheet.locator(".note")).to_have_text(monitor.evaluation(5, 12, 2, 17))
    expect(sheet.locator("tbody tr")).to_have_count(3)
    first, second, third = (sheet.locator("tbody tr").nth(number) for number in range(3))
    expect(first).to_have_text(re.compile(r"Judge.*0\.500.*0\.560.*\+0\.060 \(\+0\.030 to \+0\.090\).*better"))
    expect(second).to_have_text(re.compile(r"Structure.*held out.*-0\.100.*worse"))
    expect(third).to_have_text(re.compile(r"Temporal LPIPS.*metric.*not significant"))
    expect(sheet.locator(".measure")).to_be_hidden()  # nothing was saved that could be measured again
    with page.expect_download() as got:
        sheet.locator(".save").click()
    rows = list(csv.DictReader(io.StringIO(Path(got.value.path()).read_text())))
    assert [(row["measure"], row["verdict"]) for row in rows] == [
        ("judge", "better"),
        ("structure_constancy", "worse"),
        ("monitor/t_lpips", "unsure"),
    ]
    assert [float(rows[0][name]) for name in ("change", "change_low", "change_high")] == pytest.approx(
        [0.06, 0.03, 0.09]
    )


def test_a_run_that_was_not_measured_is_measured_by_a_job(page: Page, bench: Any, runs: list[Run]) -> None:
    give_adapter(runs[1])
    queue = JobQueue(Library(bench.workspace))
    queue.pause()
    view(opened(page, bench, runs), "evaluation")
    sheet = page.locator("#monitor-findings")
    expect(sheet.locator(".note")).to_have_text(monitor.FINDINGS_EMPTY)
    sheet.locator(".measure").click()
    expect(sheet.locator(".note")).to_have_text(monitor.FINDINGS_WORDS["measuring"].format(line=training.HELD))
    expect(sheet.locator(".measure")).to_be_disabled()
    [job] = queue.list("queued", "evaluate")
    assert job.config["run"] == runs[1].id
    queue.cancel(job.id)
    expect(sheet.locator(".note")).to_have_text(monitor.FINDINGS_EMPTY)
    expect(sheet.locator(".measure")).to_be_enabled()
    queue.resume()
