"""From `make app` on an installed machine to a page that a person can type in. Bar: 4 s on two cores."""

import sys
import time

from measurement import report
from served_page import chromium, scratch_workspace, started_app, wait_until_served

BAR_S = 4.0


def main() -> int:
    with scratch_workspace() as workspace, chromium() as browser:
        page = browser.new_page()
        began = time.monotonic()
        with started_app(workspace) as (address, process):
            wait_until_served(address, process)
            served = time.monotonic() - began
            page.goto(address)
            page.get_by_label("Prompt", exact=True).wait_for(state="visible", timeout=60_000)
            ready = time.monotonic() - began
    return int(not report("page_ready", ready, "s", bar=BAR_S, first_answer_s=round(served, 3)))


if __name__ == "__main__":
    sys.exit(main())
