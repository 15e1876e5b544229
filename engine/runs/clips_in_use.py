"""Which clips something still needs: jobs that wait or run, runs that are not finished, campaigns that are open."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress

from sqlalchemy import select

from engine.errors import ConfigError
from engine.runs.run import list_runs
from engine.storage.library import Library
from engine.storage.schema import CAMPAIGN_CLIPS, CAMPAIGNS, JOBS

PENDING = ("queued", "running", "stopping")
PAIR_SIDES = ("chosen_clip", "rejected_clip")
NAMED = 5  # users in one sentence


def clips_in_use(store: Library) -> Mapping[str, list[str]]:
    """By clip, who needs it: "the job 1f0c (score)", "the run mini_dpo-12ab", "the campaign 'Two models'"."""
    found: dict[str, list[str]] = defaultdict(list)
    with store.database.reading() as connection:
        for job in connection.execute(select(JOBS.c.id, JOBS.c.kind, JOBS.c.config).where(JOBS.c.status.in_(PENDING))):
            for clip_id in {*(job.config.get("clip_ids") or ()), job.config.get("clip_id")} - {None}:
                found[clip_id].append(f"the job {job.id} ({job.kind})")
        campaigns = select(CAMPAIGN_CLIPS.c.clip_id, CAMPAIGNS.c.title).join(CAMPAIGNS)
        for row in connection.execute(campaigns.where(CAMPAIGNS.c.closed_at.is_(None))):
            found[row.clip_id].append(f"the campaign '{row.title}'")
    for run in list_runs(store.workspace):
        if run.pairs_file.is_file() and not run.adapter.is_dir():
            for clip_id in _clips_of_pairs(run.pairs_file.read_bytes()):
                found[clip_id].append(f"the run {run.id}")
    return found


def check_unused(store: Library, clip_ids: Collection[str]) -> None:
    """Raises ConfigError that names who still needs which of the clips: then none is to be deleted."""
    in_use = clips_in_use(store)
    needed = [clip_id for clip_id in clip_ids if clip_id in in_use]
    if needed:
        users = list(dict.fromkeys(user for clip_id in needed for user in in_use[clip_id]))
        more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
        raise ConfigError(
            f"Nothing was deleted: {len(needed)} of {len(clip_ids)} clips ({', '.join(needed[:NAMED])}) are needed by "
            f"{', '.join(users[:NAMED])}{more}. Cancel or close these first, or choose other clips."
        )


def _clips_of_pairs(lines: bytes) -> set[str]:
    """The clips that a run's pairs name; a damaged line names none."""
    found = set()
    for line in lines.splitlines():
        with suppress(ValueError, TypeError, AttributeError):
            row = json.loads(line)
            found |= {str(row[side]) for side in PAIR_SIDES if row.get(side)}
    return found
