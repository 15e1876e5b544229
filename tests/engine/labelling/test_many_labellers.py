"""Twenty people at once, and a server that is killed in between: nothing is lost, nothing is doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote
from engine.storage.library import Library

# Each "server" lets its labellers vote on their next pairs, and prints a vote only once it is stored.
SERVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from engine.labelling.campaigns import Campaigns
from engine.storage.library import Library
from engine.labelling.votes import Vote
from engine.workspace import Workspace

campaign, names = sys.argv[1], sys.argv[2:]
campaigns = Campaigns(Library(Workspace.from_env()))

def work(name):
    while ahead := campaigns.next_pairs(campaign, name, count=1):
        one = ahead[0]
        fields = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip}
        uuid = f"{name}-{one.pair_id}-{one.left_clip}"
        campaigns.vote(Vote.read({**fields, "client_uuid": uuid}, name))
        sys.stdout.write(uuid + "\\n")
        sys.stdout.flush()

with ThreadPoolExecutor(len(names)) as threads:
    list(threads.map(work, names))
"""


def check(campaigns: Campaigns, campaign_id: str, people: int) -> None:
    """Check the invariants that hold after any sequence of events."""
    votes = campaigns.votes(campaign_id, history=True)
    assert max(Counter(one.vote.client_uuid for one in votes).values()) == 1
    assert max(Counter((one.vote.labeller, one.vote.pair_id, one.vote.shown_left) for one in votes).values()) == 1
    counted = Counter(one.vote.pair_id for one in votes if not one.is_repeat)
    assert max(counted.values()) <= people


def test_twenty_labellers_at_once(workspace, library):
    store = Library(workspace, busy_timeout_s=200)  # they take turns, also where the machine has other work
    campaigns, names = Campaigns(store), [f"labeller-{number}" for number in range(20)]
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(5, 4), labellers_per_pair=3))

    def work(name: str) -> int:
        done = 0
        while ahead := campaigns.next_pairs(campaign.id, name, count=2):
            uuid = f"{name}-{ahead[0].pair_id}-{ahead[0].left_clip}"
            fields = {"pair_id": ahead[0].pair_id, "choice": "left", "shown_left": ahead[0].left_clip}
            vote = Vote.read({**fields, "client_uuid": uuid}, name)
            assert campaigns.vote(vote) == campaigns.vote(vote)
            done += 1
        return done

    with ThreadPoolExecutor(20) as threads:
        done = sum(threads.map(work, names))
    check(campaigns, campaign.id, 3)
    votes = campaigns.votes(campaign.id)
    assert len(votes) == done and sum(not one.is_repeat for one in votes) == 5 * 6 * 3
    store.close()


def test_a_server_that_is_killed_twice_loses_and_doubles_nothing(workspace, database, library):
    store = Library(workspace)
    campaigns, names = Campaigns(store), [f"labeller-{number}" for number in range(6)]
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=library(8, 4), labellers_per_pair=2))
    command, told = [sys.executable, "-c", SERVER, campaign.id, *names], []
    for kill_after in (12, 40, None):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            for line in process.stdout:
                told.append(line.strip())
                if kill_after is not None and len(told) == kill_after:
                    time.sleep(random.Random(kill_after).random() * 0.05)  # between two votes, or within one
                    process.send_signal(signal.SIGKILL)
        assert process.returncode == (0 if kill_after is None else -signal.SIGKILL)
    check(campaigns, campaign.id, 2)
    votes = campaigns.votes(campaign.id)
    assert set(told) <= {one.vote.client_uuid for one in votes} and len(told) == len(set(told))
    assert sum(not one.is_repeat for one in votes) == 8 * 6 * 2
    store.close()
