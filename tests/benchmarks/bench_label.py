"""Labelling, under the page: a vote's way into the store and the next pairs out of it; 20 people at a page that is
killed twice; a ranking of 200 models from 1,000,000 votes, intervals included.

Bars: 25 ms, 25 ms, nothing lost and nothing doubled, 5 s.
"""

import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
from crowd import vote_through_kills
from measurement import report

from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.stats.bradley_terry import Strengths
from engine.labelling.stats.ranking import VoteTable, rank
from engine.labelling.votes import Vote
from engine.storage.clip_files import FILES
from engine.storage.library import ClipRecord, Library
from engine.workspace import Workspace

VOTE_BAR_MS, NEXT_BAR_MS, RANKING_BAR_S = 25.0, 25.0, 5.0
PROMPTS, MODELS, VOTES = 120, 6, 150
LABELLERS, VOTES_EACH, KILL_AFTER = 20, 100, (600, 1300)
ENTRANTS, RANKED_VOTES = 200, 1_000_000


def fill(store: Library) -> tuple[str, ...]:
    """Clips of each prompt by each model; their files are only names."""
    ids = [f"{prompt * 100 + model:016x}" for prompt in range(PROMPTS) for model in range(MODELS)]
    for number, clip in enumerate(ids):
        prompt, model = divmod(number, MODELS)
        shape = {"num_frames": 9, "width": 64, "height": 64, "fps": 8.0, "source": "generated"}
        store.add_clip(ClipRecord(id=clip, prompt=f"prompt {prompt}", model=f"m{model}", **shape))
        folder = store.workspace.clip_folder(clip)
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text("a clip")
    return tuple(ids)


def vote_times_ms(campaigns: Campaigns, clips: tuple[str, ...]) -> tuple[float, float]:
    """Medians: storing a vote, and asking for the next pairs, in a campaign with a schedule (informative first)."""
    campaign = campaigns.create(CampaignSpec(title="times", clip_ids=clips, strategy="informative"))
    votes, asks = [], []
    for _ in range(VOTES):
        began = time.perf_counter()
        one = campaigns.next_pairs(campaign.id, "ann")[0]
        asked = time.perf_counter()
        fields = {"pair_id": one.pair_id, "choice": "left", "shown_left": one.left_clip}
        vote = Vote.read({**fields, "client_uuid": str(uuid.uuid4())}, "ann")
        before = time.perf_counter()
        campaigns.vote(vote)
        votes.append((time.perf_counter() - before) * 1000)
        asks.append((asked - began) * 1000)
    return statistics.median(votes), statistics.median(asks)


def lost_and_doubled(campaigns: Campaigns, clips: tuple[str, ...]) -> tuple[int, int, dict[str, float]]:
    """20 people, 100 votes each, the page killed twice: votes lost, votes doubled, and how it went."""
    people = LABELLERS * VOTES_EACH // (PROMPTS * MODELS * (MODELS - 1) // 2) + 2
    campaign = campaigns.create(CampaignSpec(title="many", clip_ids=clips, labellers_per_pair=people))
    names = [f"labeller-{number}" for number in range(LABELLERS)]
    began = time.perf_counter()
    crowd = vote_through_kills(campaigns.store.workspace.root, campaign.id, names, VOTES_EACH, KILL_AFTER)
    spent = time.perf_counter() - began
    stored = campaigns.votes(campaign.id, history=True)
    uuids = [one.vote.client_uuid for one in stored]
    shown = Counter((one.vote.pair_id, one.vote.labeller, one.vote.shown_left) for one in stored)
    lost = len(set(crowd.stored) - set(uuids)) + abs(LABELLERS * VOTES_EACH - len(crowd.stored))
    doubled = len(uuids) - len(set(crowd.stored)) + sum(count - 1 for count in shown.values())
    return lost, doubled, {"seconds": round(spent, 1), "sent_again": crowd.sent_again}


def ranking_s() -> float:
    """The whole ranking, the library's import included."""
    rng = np.random.default_rng(0)
    chances = Strengths(theta=rng.normal(0, 1, ENTRANTS), opponent=0.0, tau=-0.5).probabilities()
    one = rng.integers(ENTRANTS, size=RANKED_VOTES // 2).repeat(2)
    other = (one + rng.integers(1, ENTRANTS, size=RANKED_VOTES // 2).repeat(2)) % ENTRANTS
    drawn, win, tie = rng.random(RANKED_VOTES), chances.win[one, other], chances.tie[one, other]
    score = np.where(drawn < win, 1.0, np.where(drawn < win + tie, 0.5, 0.0))
    names = tuple(f"m{number}" for number in range(ENTRANTS))
    told = VoteTable(names=names, first=one, second=other, score=score, pair=np.arange(RANKED_VOTES) // 2)
    began = time.perf_counter()
    found = rank(told)
    assert len(found.standings) == ENTRANTS
    return time.perf_counter() - began


def main() -> int:
    ranking = report("label_ranking", ranking_s(), "s", bar=RANKING_BAR_S, entrants=ENTRANTS, votes=RANKED_VOTES)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("DAILIES_DATABASE_URL", None)
        store = Library(Workspace(Path(folder)))
        clips, campaigns = fill(store), Campaigns(store)
        vote_ms, next_ms = vote_times_ms(campaigns, clips)
        lost, doubled, went = lost_and_doubled(campaigns, clips)
        store.close()
    vote = report("label_vote_stored", vote_ms, "ms", bar=VOTE_BAR_MS, votes=VOTES)
    ahead = report("label_next_pairs", next_ms, "ms", bar=NEXT_BAR_MS, pairs=PROMPTS * MODELS * (MODELS - 1) // 2)
    details = {"labellers": LABELLERS, "votes": LABELLERS * VOTES_EACH, **went}
    kept = report("label_votes_lost_or_doubled", lost + doubled, "votes", bar=0, **details)
    return int(not (ranking and vote and ahead and kept))


if __name__ == "__main__":
    sys.exit(main())
