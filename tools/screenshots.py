"""Take the pictures of docs/screenshots from a workspace, in Chromium.

`python -m tools.screenshots WORKSPACE` serves the page on a free port. A workspace that went through the whole loop is
made by `python -m examples.tour --short --workspace WORKSPACE`. The Generate tab makes four clips of `mini`.
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

from playwright.sync_api import Page, expect, sync_playwright

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
PROMPT = "a red ball moving right over a meadow"
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
    expect(page.locator("#generate-takes .card")).to_have_count(4)
    expect(page.locator("#generate-facts .total b")).to_have_text(re.compile(r"\d\.\d\d"))
    expect(page.locator("#generate-bars .ytick text").first).to_be_visible()


def score(page: Page) -> None:
    """Show the clip that is ranked first."""
    page.locator("#score-table td.clip a").first.click()
    expect(page.locator("#score-facts .total b")).to_be_visible()


def label(page: Page) -> None:
    """Show a pair of the campaign."""
    page.locator('#label-campaigns [data-do="label"]').first.click()
    name = page.locator("#label-desk .name")
    if name.is_visible():
        name.fill("anna")
        name.press("Enter")
    expect(page.locator("#label-desk[data-pair], #label-desk [data-pair]").first).to_be_visible()


def library(page: Page) -> None:
    expect(page.locator("#library-grid .card").first).to_be_visible()


def train(page: Page) -> None:
    expect(page.locator("#train-form .memory span")).to_contain_text("fits")


def monitor(page: Page) -> None:
    """Show the evaluation of the first run that has one."""
    page.get_by_role("tab", name="Evaluation").click()


PICTURES = {"generate": (generate, 1180), "score": (score, 1180), "label": (label, 900), "library": (library, 1000)}
PICTURES |= {"train": (train, 1000), "monitor": (monitor, 1000)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("tabs", nargs="*", choices=[*PICTURES, []], default=[], help="default: all")
    options = parser.parse_args()
    with served(options.workspace) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        for tab in options.tabs or PICTURES:
            prepare, height = PICTURES[tab]
            page = browser.new_page(viewport={"width": 1400, "height": height})
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)
            page.goto(f"{address}?tab={tab}&__theme=light")
            prepare(page)
            page.wait_for_timeout(1500)  # plots and thumbnails fade in
            page.screenshot(path=FOLDER / f"{tab}.png")
            page.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
