"""The clips that a labelling campaign lacks, filed as ordinary "generate" jobs."""

from engine.data.campaigns import Campaigns
from engine.generation.request import GenerationRequest
from engine.jobs.queue import JobQueue
from engine.jobs.spec import ACTIVE, Job, JobSpec

PER_JOB = 100  # clips; the first pairs can be asked about while later jobs still wait
JOBS_LIMIT = 10_000  # waiting jobs that are looked through for clips filed already


def file_missing(queue: JobQueue, campaigns: Campaigns, campaign_id: str, mix: str | None = None) -> list[Job]:
    """File jobs for the clips that are neither there nor filed, scored by `mix` unless it is None; [] when none lacks.

    Call `engine.jobs.local.ensure_worker` after it. Raises ConfigError or JobError where a clip could not be made.
    """
    waiting = queue.list(("queued", *ACTIVE), kind="generate", limit=JOBS_LIMIT)
    filed = {GenerationRequest(**request).id for job in waiting for request in job.config["requests"]}
    missing = [request for request in campaigns.missing(campaign_id) if request.id not in filed]
    parts = [missing[start : start + PER_JOB] for start in range(0, len(missing), PER_JOB)]
    return [queue.submit(JobSpec.generate(part, mix)) for part in parts]
