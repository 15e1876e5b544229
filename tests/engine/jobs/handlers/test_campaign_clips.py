"""The clips that a campaign lacks are submitted once, as ordinary jobs."""

import pytest

from engine.jobs.handlers.campaign_clips import file_missing
from engine.jobs.queue import JobQueue
from engine.labelling.campaign_spec import CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.request import GenerationRequest


@pytest.fixture
def campaign(store):
    spec = CampaignSpec(title="t", prompts=("a red ball", "a blue ball"), entrants=(Entrant(),), takes=60)
    return Campaigns(store).create(spec)


def test_missing_clips_are_filed_once_and_again_when_their_job_is_gone(store, campaign):
    queue, campaigns = JobQueue(store), Campaigns(store)
    first, second = file_missing(queue, campaigns, campaign.id, "mini")
    assert [len(job.config["requests"]) for job in (first, second)] == [100, 20]
    assert first.config["mix"] == "mini" and first.status == "queued"
    assert file_missing(queue, campaigns, campaign.id) == []
    queue.cancel(second.id)
    (again,) = file_missing(queue, campaigns, campaign.id)
    assert again.config["requests"] == second.config["requests"]
    wanted = {request.id for request in campaigns.missing_requests(campaign.id)}
    submitted = [GenerationRequest(**request).id for job in (first, again) for request in job.config["requests"]]
    assert set(submitted) == wanted and len(submitted) == len(wanted) == 120
