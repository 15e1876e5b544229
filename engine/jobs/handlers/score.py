"""What the jobs around scoring do: clips of the library, one file, a folder of them, and pictures of what rewards saw.

What is scored is kept at once, clip by clip: a job that is cut short, and filed again, does only the rest.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.config.presets import load_preset
from engine.errors import ConfigError, DailiesError, MediaError
from engine.execution.executors import Completed, Executor, InProcessExecutor, Pending, SubprocessExecutor, Task
from engine.files.text_files import text_of
from engine.hardware.environment import process_changes
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress, OverlaysConfig, ScoreConfig, ScoreFolderConfig
from engine.storage.clip_files import load_clip, save_overlays
from engine.storage.library import ClipRecord, Library
from engine.storage.video_import import import_clip, store_video
from engine.video.reader import skipped_in, videos_in
from engine.workspace import Workspace
from rewards.calibration import mix_calibration

if TYPE_CHECKING:
    from rewards.suite import RewardSuite

Scoring = Generator[JobProgress, None, dict[str, str]]


def score_clips(config: ScoreConfig, context: JobContext) -> JobSteps:
    """Score clips of the library, or import a file first. Result: `clip_ids`, and `unscored` a sentence by clip id."""
    clip_ids = list(config.clip_ids)
    if config.path is not None:
        yield JobProgress(phase="import")
        clip_ids = [import_clip(context.store, config.path, config.prompt).id]
    unscored = yield from score_each(clip_ids, config.mix, context.store)
    return {"clip_ids": clip_ids, "unscored": unscored}


def score_folder(config: ScoreFolderConfig, context: JobContext) -> JobSteps:
    """Import and score a folder's videos, here or on a cluster; what this mix has scored already, with the
    present calibration, stays as it is.

    Result: `clip_ids`, `unscored` a sentence by clip id, `unread` a sentence by file name, also for files that are no
    videos. A video that cannot be read does not stop the others; if none can, the first one's error is raised.
    """
    store, videos, skipped = context.store, videos_in(config.folder), skipped_in(config.folder)
    known = {"workspace": str(store.workspace.root), "mix": config.mix, "known": _scored_by(config.mix, store)}
    task = Task(opens="engine.jobs.handlers.score:open_scorer", config=known)
    items = [{"path": str(path), "prompt": config.prompt} for path in videos]
    found: dict[int, Scored] = {}
    yield JobProgress(phase="score", of=len(videos))
    for event in _executor(config, context).map(task, items):
        if isinstance(event, Completed):
            found[event.index] = _kept(Scored(**event.result), config.mix, store)
        handle = event.handle if isinstance(event, Pending) else None
        yield JobProgress(phase="score", step=len(found), of=len(videos), handle=handle)
    result = _summary([(videos[index].name, found[index]) for index in sorted(found)])
    return {**result, "unread": {**skipped, **result["unread"]}}


def _scored_by(mix_key: str, store: Library) -> list[str]:
    """The clips that the mix has scored with the present calibration: older reports are made anew."""
    return store.scored_by(mix_key, mix_calibration(load_preset("rewards", mix_key)))


def _executor(config: ScoreFolderConfig, context: JobContext) -> Executor:
    """This process, unless the job asks for others."""
    workspace, resources = context.store.workspace, context.resources
    if resources.is_local and resources.processes == 1:
        return InProcessExecutor()
    name = hashlib.sha256(f"{config.folder} {config.mix}".encode()).hexdigest()[:16]
    return SubprocessExecutor(workspace.batch_folder(name), resources, process_changes(workspace))


class Scored(BaseModel):
    """What became of one video; `error` says why there is no report, or, without a clip, why it could not be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip: ClipRecord | None = None
    report: dict[str, Any] | None = None
    error: str = ""


def open_scorer(config: Mapping[str, Any]) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """What scores one video of `path` and `prompt` and keeps its files; the database is not for it to write.

    `config` has the folder of the `workspace`, the key of a `mix`, and the ids of the clips `known` to be scored.
    """
    workspace, suite, known = Workspace(Path(config["workspace"])), open_suite(config["mix"]), set(config["known"])

    def scored(item: Mapping[str, str]) -> Scored:
        path = Path(item["path"])
        try:
            record, clip = store_video(workspace, path, prompt_of(path, item["prompt"]))
        except (MediaError, ConfigError) as error:
            return Scored(error=str(error))
        if record.id in known:
            return Scored(clip=record)
        try:
            return Scored(clip=record, report=suite.score(clip, record.id).to_dict())
        except DailiesError as error:
            return Scored(clip=record, error=str(error))

    return lambda item: scored(item).model_dump(mode="json", exclude_defaults=True)


def _kept(scored: Scored, mix: str, store: Library) -> Scored:
    if scored.clip is not None:
        store.add_clip(scored.clip)
        if scored.report is not None:
            store.save_report(scored.clip.id, mix, scored.report)
    return scored


def _summary(found: Sequence[tuple[str, Scored]]) -> dict[str, Any]:
    """The job's result, of what became of each file. Raises MediaError when none could be read."""
    unread = {name: one.error for name, one in found if one.clip is None}
    if len(unread) == len(found):
        raise MediaError(found[0][1].error)
    clips = [(one.clip.id, one.error) for _, one in found if one.clip is not None]
    return {"clip_ids": [id for id, _ in clips], "unscored": {id: why for id, why in clips if why}, "unread": unread}


def prompt_of(path: Path, otherwise: str) -> str:
    """What a video shows: the text beside it, if there is one. Raises ConfigError when that cannot be read."""
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return otherwise
    return " ".join(text_of(beside).split())


def make_overlays(config: OverlaysConfig, context: JobContext) -> JobSteps:
    """Draw what the rewards of a mix saw in a clip. Result: `clip_id`, and `overlays` "reward.name" by file name."""
    workspace, suite = context.store.workspace, open_suite(config.mix)
    clip = load_clip(workspace, config.clip_id)
    features = suite.features(clip)
    keys = [key for key, weight in suite.mix.weights.items() if weight > 0]
    pictures: dict[str, np.ndarray] = {}
    for step, key in enumerate(keys):
        yield JobProgress(phase="overlays", step=step, of=len(keys))
        found = suite.pictures(features, key)
        pictures |= {f"{key}.{name}": frames for name, frames in found.items()}
    return {"clip_id": config.clip_id, "overlays": save_overlays(workspace, config.clip_id, pictures, clip.fps)}


def score_each(clip_ids: Sequence[str], mix_key: str, store: Library) -> Scoring:
    """Score clips one by one. One that cannot be scored does not stop the others; if none can, its error is raised."""
    suite = open_suite(mix_key)
    unscored: dict[str, str] = {}
    for step, clip_id in enumerate(clip_ids):
        yield JobProgress(phase="score", step=step, of=len(clip_ids))
        if why := score_one(suite, clip_id, store, must=len(unscored) == len(clip_ids) - 1):
            unscored[clip_id] = why
    return unscored


def open_suite(mix_key: str) -> "RewardSuite":
    """The rewards of a mix, by the key of its preset. Raises ConfigError or RewardError."""
    from rewards.suite import RewardSuite

    return RewardSuite(load_preset("rewards", mix_key))


def score_one(suite: "RewardSuite", clip_id: str, store: Library, *, must: bool = False) -> str:
    """Score a clip and keep the report; "" or the sentence why it cannot be scored, which is raised when it `must`."""
    try:
        report = suite.score(load_clip(store.workspace, clip_id), clip_id)
        store.save_report(clip_id, suite.mix.key, report.to_dict())
    except DailiesError as error:
        if must:
            raise
        return str(error)
    return ""
