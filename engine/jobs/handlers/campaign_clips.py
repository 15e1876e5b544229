"""The clips that a labelling campaign lacks, filed as ordinary "generate" jobs."""

from engine.config.presets import load_preset
from engine.errors import DailiesError
from engine.files.locks import locked
from engine.jobs.queue import JobQueue
from engine.jobs.spec import ACTIVE, Job, JobSpec
from engine.jobs.submission import withdraw
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaign, Campaigns
from engine.request import GenerationRequest

PER_JOB = 100  # clips; the first pairs can be asked about while later jobs still wait
JOBS_LIMIT = 10_000  # waiting jobs that are looked through for clips filed already


def create_campaign(
    queue: JobQueue, campaigns: Campaigns, spec: CampaignSpec, mix: str | None = None, key: str | None = None
) -> tuple[Campaign, list[Job]]:
    """Create a campaign and file the clips that it lacks; `key` names the request, see `Campaigns.create`.

    Call `engine.jobs.worker_control.ensure_worker` after it. Raises DailiesError; then there is neither campaign nor
    job.
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
    """File jobs for the clips that are neither there nor filed, scored by `mix` unless it is None; [] when none lacks.

    Call `engine.jobs.worker_control.ensure_worker` after it. Raises ConfigError or JobError where a clip could not be
    made;
    then none is filed.
    """
    jobs: list[Job] = []
    with locked(queue.store.workspace.setup_lock):  # two that ask at once would each file all of them
        waiting = queue.list(("queued", *ACTIVE), kind="generate", limit=JOBS_LIMIT)
        filed = {GenerationRequest(**request).id for job in waiting for request in job.config["requests"]}
        missing = [request for request in campaigns.missing_requests(campaign_id) if request.id not in filed]
        try:
            for start in range(0, len(missing), PER_JOB):
                jobs.append(queue.submit(JobSpec.generate(missing[start : start + PER_JOB], mix)))
        except DailiesError:
            withdraw(queue, *(job.id for job in jobs))
            raise
    return jobs
