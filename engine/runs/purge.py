"""Permanent removal of clips that were deleted some time ago."""

import logging
from datetime import timedelta

from engine.runs.clips_in_use import clips_in_use
from engine.storage.clip_files import remove_files
from engine.storage.library import Library, now

KEEP = timedelta(days=7)

log = logging.getLogger(__name__)


def purge(store: Library, older_than: timedelta = KEEP) -> int:
    """Remove rows, reports and files of clips deleted more than `older_than` ago; return their number.

    Clips in use are kept (see `engine.runs.clips_in_use`). Rows are removed first, in one transaction, so that a
    concurrent restore keeps either both row and files, or neither.
    """
    clip_ids = store.forget_deleted(now() - older_than, keep=clips_in_use(store))
    for clip_id in clip_ids:
        remove_files(store.workspace, clip_id)
    if clip_ids:
        log.info("Purged %d clips that were deleted more than %s ago.", len(clip_ids), older_than)
    return len(clip_ids)
