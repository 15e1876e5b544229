"""Take the pictures of docs/screenshots from a workspace, in Chromium.

`python -m tools.screenshots WORKSPACE` serves the page on a free port. A workspace that went through the whole loop is
made by `python -m examples.tour --short --workspace WORKSPACE`. The Generate tab makes four clips of `mini`. To look at
the page in other ways: `--theme dark --width 390 --folder FOLDER`.
"""

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.runs.run import list_runs
from engine.storage.library import Library
from engine.workspace import Workspace

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
PROMPT = "a red ball moving right over a meadow"
SHOWN_WORKSPACE = "~/dailies"  # in the place of the path on this machine
START_S, WAIT_MS = 120, 300_000
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@contextmanager
def served(workspace: Path) -> Iterator[str]:
    """Serve the page of the workspace; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "app", "--port", str(port), "--workspace", str(workspace)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(START_S):
                try:
                    urllib.request.urlopen(address, timeout=1).close()
                    break
                except OSError:
                    time.sleep(1)
            yield address
        finally:
            process.terminate()
            process.wait()


def generate(page: Page) -> None:
    """Make four clips and show the best."""
    expect(page.locator("#seed input, #seed textarea")).to_have_value(re.compile(r"\d+"))
    page.locator("#prompt textarea").fill(PROMPT)
    page.locator("#takes input[type=number]").fill("4")
    page.locator("#takes input[type=number]").blur()
    page.locator("#prompt textarea").press("Control+Enter")
    line = page.locator("#generate-jobs .job")
    expect(line).to_be_visible()
    expect(line).to_be_hidden()
    expect(page.locator("#generate-takes .card")).to_have_count(4)
    expect(page.locator("#generate-facts .total b")).to_have_text(re.compile(r"\d\.\d\d"))
    expect(page.locator("#generate-bars .ytick text").first).to_be_visible()


def score(page: Page) -> None:
    """Show the clip that is ranked first."""
    page.locator("#score-table td.clip a").first.click()
    expect(page.locator("#score-facts .total b")).to_be_visible()


def label(page: Page) -> None:
    """Show a pair of the campaign."""
    desk = page.locator("#label-desk")
    expect(desk.locator(".head")).to_be_visible()
    name = desk.locator(".name")
    name.or_(desk.locator(".votes button").first).first.wait_for()
    if name.is_visible():
        name.fill("anna")
        name.press("Enter")
    expect(desk.locator(".votes button").first).to_be_visible()


def library(page: Page) -> None:
    expect(page.locator("#library-grid .card").first).to_be_visible()


def train(page: Page) -> None:
    expect(page.locator("#train-form .memory span")).to_contain_text("fits")


def monitor(page: Page) -> None:
    """Show what the run of the address changed."""
    expect(page.locator("#monitor-findings tbody tr").first).to_be_visible()


def system(page: Page) -> None:
    expect(page.locator("#system-telemetry .device").first).to_be_visible()


PICTURES = {"generate": (generate, 1180), "score": (score, 1180), "label": (label, 900), "library": (library, 1000)}
PICTURES |= {"train": (train, 1000), "monitor": (monitor, 1000), "system": (system, 1000)}

SHOWN = [tab for tab in PICTURES if tab != "system"]  # in the documentation


def evaluated(workspace: Path) -> str:
    """Return the part of Monitor's address that shows the evaluation of the newest run that has one."""
    runs = [run for run in list_runs(Workspace(workspace)) if run.evaluation() is not None]
    return f"&view=evaluation&run={runs[0].id}" if runs else ""


def unlabelled(workspace: Path) -> str:
    """Return the part of Label's address that shows a new campaign: those of the tour have all their votes."""
    store = Library(Workspace(workspace))
    clips = [clip for clip in store.clips() if clip.prompt == PROMPT]
    spec = CampaignSpec(title="Red balls over a meadow", clip_ids=tuple(clip.id for clip in clips[:4]))
    campaign = Campaigns(store).create(spec)
    store.close()
    return f"&campaign={campaign.id}"


ADDRESSES = {"monitor": evaluated, "label": unlabelled}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument(
        "tabs", nargs="*", choices=[*PICTURES, []], default=[], help="default: those of docs/screenshots"
    )
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    parser.add_argument("--width", type=int, default=1400, help="of the window, in px (default: 1400)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: docs/screenshots")
    options = parser.parse_args()
    with served(options.workspace) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        for tab in options.tabs or SHOWN:
            prepare, height = PICTURES[tab]
            viewport: ViewportSize = {"width": options.width, "height": height}
            page = browser.new_page(viewport=viewport, color_scheme=options.theme)
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)
            more = ADDRESSES[tab](options.workspace) if tab in ADDRESSES else ""
            page.goto(f"{address}?tab={tab}{more}")
            prepare(page)
            page.locator("#masthead .workspace code").evaluate(
                "(code, text) => code.textContent = text", SHOWN_WORKSPACE
            )
            page.wait_for_timeout(1500)  # plots and thumbnails fade in
            page.screenshot(path=options.folder / f"{tab}.png")
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
