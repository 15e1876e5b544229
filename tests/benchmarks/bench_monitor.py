"""The Monitor's table of 200 runs, from pressing its tab to its last row (bar: 300 ms), and its curves.

The Monitor with 50 runs of 20,000 rows each, all overlaid, from pressing its tab to drawn curves. Bar: 1 s.

Every row has ten metrics, so a million rows are ten million values. The bar is for a second opening. `first_time_s` is
the first one, which reads the files; `after_restart_s` is the first one of a new server, which finds the columns in the
workspace's cache.
"""

import json
import random
import shutil
import statistics
import sys
import time
from pathlib import Path

from measurement import report
from playwright.sync_api import Browser, Page
from served_page import OpenRequests, chromium, scratch_workspace, started_app, wait_until_served

from engine.config.presets import load_train_preset
from engine.runs.run import Run
from engine.workspace import Workspace

BAR_S, TABLE_BAR_MS = 1.0, 300.0
LISTED, LISTED_ROWS = 200, 20
RUNS, ROWS = 50, 20_000
NAMES = ("loss", "reward", "kl", "grad_norm", "ratio/spread", "clip_ratio", "time/step", "memory/process", "at", "of")
DRAWN = """([runs, rows]) => { const view = document.querySelector('#monitor-curves [id^=html]')?.curves;
  const loss = view?.charts.get('loss');
  return Boolean(loss?.lines?.length === runs && loss.lines.every(line => line.x[line.x.length - 1] === rows)
    && document.querySelector('#monitor-curves .said').textContent === ''); }"""


def fill(workspace: Workspace, runs: int = RUNS, rows: int = ROWS) -> None:
    random.seed(0)
    lines = [
        json.dumps({"step": step, **{name: round(random.random(), 6) for name in NAMES}}) + "\n"
        for step in range(1, rows + 1)
    ]
    text = "".join(lines)
    for _ in range(runs):
        run = Run.create(workspace, load_train_preset("mini_nft"))
        run.metrics_file.write_text(text, encoding="utf-8")
        run.adapter.mkdir()


def opened_s(browser: Browser, address: str, runs: list[str]) -> float:
    """Seconds from the press on the tab until all runs are drawn to their last step, in a fresh browser context."""
    page = browser.new_page()
    page.goto(address)
    choose(page, runs)
    began = time.monotonic()
    page.get_by_role("tab", name="Monitor", exact=True).click()
    page.wait_for_function(DRAWN, arg=[RUNS, ROWS], timeout=300_000, polling=20)
    spent = time.monotonic() - began
    page.close()
    return spent


TABLE = """([tab, runs]) => new Promise(resolve => {
  const began = performance.now();
  tab.click();
  const look = () => requestAnimationFrame(() => {
    const rows = [...document.querySelectorAll("#monitor-curves tr.run")], last = rows.at(-1);
    const there = rows.length === runs && last.offsetHeight > 0 && last.querySelector(".reward").textContent;
    if (there) resolve(performance.now() - began); else look();
  });
  look();
})"""


def table_ms(browser: Browser, address: str) -> float:
    page = browser.new_page()
    requests = OpenRequests(page)
    page.goto(address)
    requests.wait()
    tab = page.get_by_role("tab", name="Monitor", exact=True).element_handle()
    spent = float(page.evaluate(TABLE, [tab, LISTED]))
    page.close()
    return spent


def table_of_runs(browser: Browser) -> bool:
    """A table of 200 runs, in fresh pages of a server that has read the runs once."""
    with scratch_workspace() as folder:
        fill(Workspace(Path(folder)).prepare(), LISTED, LISTED_ROWS)
        with started_app(folder) as (address, process):
            wait_until_served(address, process)
            first, *spent = [table_ms(browser, address) for _ in range(6)]
    worst = round(max(spent), 1)
    return report(
        "runs_table",
        statistics.median(spent),
        "ms",
        bar=TABLE_BAR_MS,
        runs=LISTED,
        worst=worst,
        first_ms=round(first, 1),
    )


def choose(page: Page, runs: list[str]) -> None:
    """These runs ticked, as a person who left them so finds them again."""
    page.evaluate("runs => localStorage.setItem('dailies.monitor', JSON.stringify({chosen: runs}))", runs)
    requests = OpenRequests(page)
    page.reload()
    requests.wait()


def main() -> int:
    with scratch_workspace() as folder, chromium() as browser:
        listed = table_of_runs(browser)
        workspace = Workspace(Path(folder)).prepare()
        fill(workspace)
        runs = [path.name for path in workspace.runs.iterdir()]
        shutil.rmtree(workspace.cache, ignore_errors=True)
        with started_app(folder) as (address, process):
            wait_until_served(address, process)
            first, again = [opened_s(browser, address, runs) for _ in range(2)]
        with started_app(folder) as (address, process):  # a page that starts anew finds the columns
            wait_until_served(address, process)
            anew = opened_s(browser, address, runs)
    details = {"runs": RUNS, "rows": ROWS, "first_time_s": round(first, 2), "after_restart_s": round(anew, 2)}
    drawn = report("monitor_opens", again, "s", bar=BAR_S, **details)
    return int(not (listed and drawn))


if __name__ == "__main__":
    sys.exit(main())
