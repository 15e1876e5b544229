"""Sets of clips to rank or to label, and the mix that suits them.

A set has the latest, the starred or the selected clips, or those of a scored folder.
"""

from collections.abc import Iterable, Sequence

from app.context import AppContext
from app.text import general, score
from app.views.clip_panel import in_order
from app.views.clips import moment
from app.views.jobs import clip_ids, folder_title
from engine.config.presets import load_preset
from engine.errors import DailiesError
from engine.jobs.spec import Job
from engine.storage.library import ClipFilter, ClipRecord

NEWEST, STARRED, JOB, CHOSEN = "newest", "starred", "job:", "chosen:"
LIMIT = 300  # clips in one table
FOLDERS = 20  # scored last

Choices = list[tuple[str, str]]


def choices(context: AppContext, chosen: str = "") -> Choices:
    """Return the sets by label; `chosen` adds a set of individually selected clips."""
    folders = context.queue.list("done", "score_folder", limit=FOLDERS)
    sets = [
        (general.WHICH_NEWEST, NEWEST),
        (general.WHICH_STARRED, STARRED),
        *((label(job), of_job(job)) for job in folders),
    ]
    own = chosen.startswith(CHOSEN)
    return [*sets, *([(general.which_chosen(len(_ids(chosen))), chosen)] if own else [])]


def label(job: Job) -> str:
    kept = folder_title(job)
    number = len(clip_ids(job))
    cut = f" ({general.the_first(LIMIT)})" if number > LIMIT else ""
    return f"{kept}, {general.count(number, 'clip')}{cut}, {moment(job.created_at)}"


def of_job(job: Job) -> str:
    return f"{JOB}{job.id}"


def of_clips(clip_ids: Iterable[str]) -> str:
    return CHOSEN + ",".join(clip_ids)


def _ids(chosen: str) -> list[str]:
    return chosen.removeprefix(CHOSEN).split(",")


def records(context: AppContext, which: str) -> list[ClipRecord]:
    """Return the existing clips of a set. Raises JobError if its job no longer exists."""
    if which.startswith(JOB):
        return in_order(context.store, clip_ids(context.queue.get(which.removeprefix(JOB)))[:LIMIT])
    if which.startswith(CHOSEN):
        return in_order(context.store, _ids(which)[:LIMIT])
    return context.store.clips(ClipFilter(starred=True if which == STARRED else None), limit=LIMIT)


def failed(context: AppContext, which: str) -> list[dict[str, str]]:
    """Return the files of a scored folder that have no score, each {name, why}."""
    if not which.startswith(JOB):
        return []
    result = context.queue.get(which.removeprefix(JOB)).result or {}
    names = {record.id: record.file or record.prompt for record in records(context, which)}
    unscored = {names.get(clip_id, clip_id): why for clip_id, why in result.get("unscored", {}).items()}
    return score.failures(result.get("unread", {}), unscored)


# ---- Mixes
TOY_MIX, REAL_MIX = "mini", "seed"  # for drawn shapes, and for everything else
TOY = "mini"  # calibration of a mix whose networks know only drawn shapes


def is_toy(model: str | None) -> bool:
    """Return True for a model of drawn shapes, False for an unknown model and an imported clip (None)."""
    try:
        return model is not None and load_preset("models", model).judge is not None
    except DailiesError:
        return False


def _toys(clips: Sequence[ClipRecord]) -> int:
    toys = {model for model in {clip.model for clip in clips} if is_toy(model)}
    return sum(clip.model in toys for clip in clips)


def mix_for(clips: Sequence[ClipRecord]) -> str:
    """Return the mix that suits most of the clips.

    Without clips it is that of drawn shapes, which needs no downloaded weights.
    """
    return TOY_MIX if _toys(clips) * 2 >= len(clips) else REAL_MIX


def warning(clips: Sequence[ClipRecord], mix: str) -> str:
    """Return a warning if the mix is not for all of the clips, else ""."""
    preset, toys = load_preset("rewards", mix), _toys(clips)
    toy = preset.calibration == TOY
    strange = len(clips) - toys if toy else toys
    return score.strange_to_mix(preset.title, strange, len(clips), toy=toy) if strange else ""


def overlay_choices(drawn: Iterable[str]) -> Choices:
    return [(general.NO_OVERLAY, ""), *((general.overlay(name), name) for name in drawn)]
