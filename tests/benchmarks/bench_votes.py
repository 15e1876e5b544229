"""Labelling with 1,000,000 votes on 100,000 pairs, under the page: what 20 people ask for, the history, the list of
campaigns, the figures of one.

On SQLite, and on PostgreSQL where DAILIES_TEST_POSTGRES_URL names an empty database. Bars: 100 ms for a person's next
pairs, vote and history (95th percentile of 20 people, each with a vote in two seconds), 300 ms for list and figures.
"""

import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from many_votes import CAMPAIGN, ENTRANTS, PEOPLE, PROMPTS, VOTES_PER_PAIR, fill, labeller
from measurement import report

from app.api.votes import SHOWN, ahead
from app.context import AppContext
from app.views import voting
from app.views.campaign_list import campaign_list
from engine.jobs.queue import JobQueue
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote
from engine.storage.library import Library
from engine.workspace import Workspace

PERSON_BAR_MS, VIEW_BAR_MS = 100.0, 300.0
ROUNDS, PAUSE_S, REPEATS = 8, 2.0, 5


def timed(times: list[float], call: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    found = call()
    times.append((time.perf_counter() - began) * 1000)
    return found


def crowd(context: AppContext, campaigns: Campaigns) -> dict[str, list[float]]:
    """Milliseconds of each request of 20 people who label at the same time."""
    times: dict[str, list[float]] = {"next": [], "vote": [], "mine": []}

    def label(number: int) -> None:
        rng, name = random.Random(number), labeller(number)
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(0.5, 1.5) * PAUSE_S)
            told = timed(times["next"], lambda: ahead(context, campaigns, CAMPAIGN, name))
            shown = campaigns.assignment(told["pairs"][0]["showing"], name)
            fields = {"pair_id": shown.pair_id, "shown_left": shown.left_clip, "choice": "left"}
            vote = Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, name)
            timed(times["vote"], partial(campaigns.vote, vote))
            timed(times["mine"], lambda: voting.own_votes(context.store, campaigns.votes(CAMPAIGN, name, last=SHOWN)))

    with ThreadPoolExecutor(PEOPLE) as people:
        for done in [people.submit(label, number) for number in range(PEOPLE)]:
            done.result()
    return times


def measure(database: str) -> bool:
    """Fill a database and print its figures; whether all are within their bars."""
    with tempfile.TemporaryDirectory() as folder:
        store = Library(Workspace(Path(folder)))
        began = time.perf_counter()
        fill(store)
        filled_s = time.perf_counter() - began
        campaigns = Campaigns(store)
        context = AppContext(store=store, queue=JobQueue(store), shared=False, folders=())
        views: dict[str, list[float]] = {"list": [], "progress": [], "revision": []}
        for _ in range(REPEATS):
            timed(views["list"], lambda: campaign_list(context))
            timed(views["progress"], lambda: campaigns.progress(CAMPAIGN))
            timed(views["revision"], lambda: campaigns.revision(CAMPAIGN))
        people = crowd(context, campaigns)
        store.close()
    details = {"votes": PROMPTS * ENTRANTS * VOTES_PER_PAIR, "pairs": PROMPTS * ENTRANTS, "filled_s": round(filled_s)}
    told = [
        report(
            f"votes_{name}_{database}",
            float(np.percentile(found, 95)),
            "ms",
            bar=PERSON_BAR_MS,
            median=round(statistics.median(found), 1),
            labellers=PEOPLE,
            **details,
        )
        for name, found in people.items()
    ]
    told += [
        report(f"votes_{name}_{database}", statistics.median(found), "ms", bar=VIEW_BAR_MS, **details)
        for name, found in views.items()
    ]
    return all(told)


def main() -> int:
    os.environ.pop("DAILIES_DATABASE_URL", None)
    within = [measure("sqlite")]
    if url := os.environ.get("DAILIES_TEST_POSTGRES_URL"):
        os.environ["DAILIES_DATABASE_URL"] = url
        within.append(measure("postgresql"))
    return int(not all(within))


if __name__ == "__main__":
    sys.exit(main())
