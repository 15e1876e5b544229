"""Removing for good what was deleted long enough ago that nobody wants it back."""

import logging
from datetime import timedelta

from engine.runs.clips_in_use import clips_in_use
from engine.storage.clip_files import remove_files
from engine.storage.library import Library, now

KEEP = timedelta(days=7)

log = logging.getLogger(__name__)


def purge(store: Library, older_than: timedelta = KEEP) -> int:
    """Remove rows, reports and files of the clips deleted more than `older_than` ago, and say how many; those that
    something still needs stay (see `engine.runs.clips_in_use`).

    Rows go first, in one transaction: a clip that somebody restores at this moment keeps either both or neither.
    """
    clip_ids = store.forget_deleted(now() - older_than, keep=clips_in_use(store))
    for clip_id in clip_ids:
        remove_files(store.workspace, clip_id)
    if clip_ids:
        log.info("Purged %d clips that were deleted more than %s ago.", len(clip_ids), older_than)
    return len(clip_ids)
