"""Clips in use by queued or running jobs, unfinished runs and open campaigns."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress

from sqlalchemy import select

from engine.errors import ConfigError
from engine.runs.run import list_runs
from engine.storage.database import pieces
from engine.storage.library import Library
from engine.storage.schema import CAMPAIGN_CLIPS, CAMPAIGNS, JOBS

PENDING = ("queued", "running", "stopping")
PAIR_SIDES = ("chosen_clip", "rejected_clip")
NAMED = 5  # users in one sentence


def clips_in_use(store: Library) -> Mapping[str, list[str]]:
    """Return the users of each clip, such as "the job 1f0c (score)" or "the campaign 'Two models'"."""
    users: dict[str, list[str]] = defaultdict(list)
    with store.database.reading() as connection:
        for job in connection.execute(select(JOBS.c.id, JOBS.c.kind, JOBS.c.config).where(JOBS.c.status.in_(PENDING))):
            for clip_id in {*(job.config.get("clip_ids") or ()), job.config.get("clip_id")} - {None}:
                users[clip_id].append(f"the job {job.id} ({job.kind})")
        opened = connection.execute(select(CAMPAIGNS.c.id, CAMPAIGNS.c.spec).where(CAMPAIGNS.c.closed_at.is_(None)))
        ids = [row.id for row in opened if not row.spec.get("deleted")]
        campaigns = select(CAMPAIGN_CLIPS.c.clip_id, CAMPAIGNS.c.title).join(CAMPAIGNS)
        queries = (campaigns.where(CAMPAIGNS.c.id.in_(piece)) for piece in pieces(ids))
        for row in (row for each in queries for row in connection.execute(each)):
            users[row.clip_id].append(f"the campaign '{row.title}'")
    for run in list_runs(store.workspace):
        if run.pairs_file.is_file() and not run.adapter.is_dir():
            for clip_id in _clips_of_pairs(run.pairs_file.read_bytes()):
                users[clip_id].append(f"the run {run.id}")
    return users


def check_unused(store: Library, clip_ids: Collection[str]) -> None:
    """Raise ConfigError with the users of the clips when some are in use; no clip may then be deleted."""
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
    """Return the clips in a run's pairs; damaged lines are left out."""
    clip_ids = set()
    for line in lines.splitlines():
        with suppress(ValueError, TypeError, AttributeError):
            row = json.loads(line)
            clip_ids |= {str(row[side]) for side in PAIR_SIDES if row.get(side)}
    return clip_ids
