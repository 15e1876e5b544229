"""Submit "generate" jobs for the missing clips of a labelling campaign."""

from engine.config.presets import load_preset
from engine.errors import DailiesError
from engine.files.locks import locked
from engine.jobs.queue import JobQueue
from engine.jobs.spec import UNFINISHED, Job, JobSpec
from engine.jobs.submission import withdraw
from engine.labelling.campaign_spec import Campaign, CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.request import GenerationRequest

PER_JOB = 100  # clips; the first pairs can be labelled while later jobs still wait


def create_campaign(
    queue: JobQueue, campaigns: Campaigns, spec: CampaignSpec, mix: str | None = None, key: str | None = None
) -> tuple[Campaign, list[Job]]:
    """Create a campaign and submit jobs for its missing clips.

    `key` names the request, see `Campaigns.create`. Call `engine.jobs.worker_control.ensure_worker` afterwards. Raises
    DailiesError; then neither the campaign nor a job exists.
    """
    if mix is not None:
        load_preset("rewards", mix)
    campaign = campaigns.create(spec, key)
    try:
        return campaign, file_missing(queue, campaigns, campaign.id, mix)
    except DailiesError:
        campaigns.discard(campaign.id)
        raise


def file_missing(queue: JobQueue, campaigns: Campaigns, campaign_id: str, mix: str | None = None) -> list[Job]:
    """Submit jobs for the clips that neither exist nor are queued; return them, [] if no clip is missing.

    The clips are scored by `mix` unless it is None. Call `engine.jobs.worker_control.ensure_worker` afterwards. Raises
    ConfigError or JobError when a clip cannot be made; then no job is submitted.
    """
    jobs: list[Job] = []
    with locked(queue.store.workspace.setup_lock):  # two concurrent calls would each submit all of them
        waiting = queue.list(UNFINISHED, kind="generate", limit=None)
        queued_ids = {GenerationRequest(**request).id for job in waiting for request in job.config["requests"]}
        missing = [request for request in campaigns.missing_requests(campaign_id) if request.id not in queued_ids]
        title = campaigns.get(campaign_id).title
        try:
            for start in range(0, len(missing), PER_JOB):
                spec = JobSpec.generate(missing[start : start + PER_JOB], mix, campaign=title)
                jobs.append(queue.submit(spec))
        except DailiesError:
            withdraw(queue, *(job.id for job in jobs))
            raise
    return jobs
