"""The scoring jobs: clips of the library, a file or a folder of videos, and overlays of a clip.

Each report is saved as soon as its clip is scored: an interrupted job that is submitted again scores only the rest.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.presets import load_preset
from engine.errors import DailiesError, MediaError
from engine.execution.executors import Completed, Executor, InProcessExecutor, Pending, SubprocessExecutor, Task
from engine.files.text_files import text_of
from engine.hardware.environment import process_changes
from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps
from engine.jobs.spec import JobProgress, OverlaysConfig, ScoreConfig, ScoreFolderConfig
from engine.storage.clip_files import add_with_files, load_clip, save_overlays
from engine.storage.library import ClipRecord, Library
from engine.storage.video_import import import_clip, store_video
from engine.video.reader import skipped_in, videos_in
from engine.workspace import Workspace
from rewards.calibration import mix_calibration
from rewards.external.probe import probes_of
from rewards.models import FrozenModel
from rewards.suite import GROUP_CLIPS, RewardSuite

Scoring = Generator[JobProgress, None, dict[str, str]]


def score_clips(config: ScoreConfig, context: JobContext) -> JobSteps:
    """Score clips of the library, or import a file first.

    Result: `clip_ids`, and `unscored`, an error message by clip id.
    """
    clip_ids = list(config.clip_ids)
    if config.path is not None:
        yield JobProgress(phase="import")
        clip_ids = [import_clip(context.store, config.path, config.prompt).id]
    unscored = yield from score_each(clip_ids, config.mix, context.store)
    return {"clip_ids": clip_ids, "unscored": unscored}


def score_folder(config: ScoreFolderConfig, context: JobContext) -> JobSteps:
    """Import and score a folder's videos, here or on a cluster.

    Clips that the mix has already scored as it is now, with no reward missing, are skipped.

    Result: `clip_ids`; `unscored`, an error message by clip id; `unread`, an error message by file name, also for files
    that are not videos. A video that cannot be read does not stop the others; when no video can be read, the first
    error is raised.
    """
    store, videos, skipped = context.store, videos_in(config.folder), skipped_in(config.folder)
    scorer = {"workspace": str(store.workspace.root), "mix": config.mix, "known": _scored_by(config.mix, store)}
    task = Task(opens="engine.jobs.handlers.score:open_scorer", config=scorer)
    items = [{"path": str(path), "prompt": config.prompt} for path in videos]
    results: dict[int, Scored] = {}
    yield JobProgress(phase="score", of=len(videos))
    for event in _executor(config, context).map(task, items):
        if isinstance(event, Completed):
            results[event.index] = _kept(Scored(**event.result), config.mix, store)
        handle = event.handle if isinstance(event, Pending) else None
        yield JobProgress(phase="score", step=len(results), of=len(videos), handle=handle)
    result = _summary([(videos[index].name, results[index]) for index in sorted(results)])
    return {**result, "unread": {**skipped, **result["unread"]}}


def _scored_by(mix_key: str, store: Library) -> list[str]:
    """Return the clips that need no new score.

    They have one of this mix as it is, by the same models, and no reward is missing.
    """
    mix = load_preset("rewards", mix_key)
    answers = probes_of([key for key, weight in mix.weights.items() if weight])
    identities = {key: answer.identity for answer in answers for key in answer.scores if not answer.error}
    return store.scored_by(mix_key, mix_calibration(mix), identities)


def _executor(config: ScoreFolderConfig, context: JobContext) -> Executor:
    """Return the executor for the job's resources: this process, or the requested processes."""
    workspace, resources = context.store.workspace, context.resources
    if resources.is_local and resources.processes == 1:
        return InProcessExecutor()
    name = hashlib.sha256(f"{config.folder} {config.mix}".encode()).hexdigest()[:16]
    return SubprocessExecutor(workspace.batch_folder(name), resources, process_changes(workspace))


class Scored(FrozenModel):
    """The result of one video.

    `error` is the reason for a missing `report`; without a `clip`, the reason why the video could not be read.
    """

    clip: ClipRecord | None = None
    report: dict[str, Any] | None = None
    error: str = ""


def open_scorer(config: Mapping[str, Any]) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """Return a function that scores one video (`path`, `prompt`) and saves its files.

    It does not write to the database. `config` has the folder of the `workspace`, the key of a `mix`, and the ids of
    clips already scored (`known`).
    """
    workspace, suite, known = Workspace(Path(config["workspace"])), open_suite(config["mix"]), set(config["known"])

    def scored(item: Mapping[str, str]) -> Scored:
        path = Path(item["path"])
        try:
            record, clip = store_video(workspace, path, prompt_of(path, item["prompt"]))
        except DailiesError as error:
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
        if add_with_files(store, [scored.clip]):
            return Scored(error="Its clip was removed while it was scored: score it again.")
        if scored.report is not None:
            store.save_report(scored.clip.id, mix, scored.report)
    return scored


def _summary(results: Sequence[tuple[str, Scored]]) -> dict[str, Any]:
    """Return the job's result from the results of its files. Raises MediaError when no file could be read."""
    unread = {name: scored.error for name, scored in results if scored.clip is None}
    if len(unread) == len(results):
        raise MediaError(results[0][1].error)
    clips = [(scored.clip.id, scored.error) for _, scored in results if scored.clip is not None]
    return {"clip_ids": [id for id, _ in clips], "unscored": {id: why for id, why in clips if why}, "unread": unread}


def prompt_of(path: Path, otherwise: str) -> str:
    """Return the prompt of a video: its text file of the same name if that exists, else `otherwise`.

    Raises ConfigError when the text file cannot be read.
    """
    text_file = path.with_suffix(".txt")
    if not text_file.is_file():
        return otherwise
    return " ".join(text_of(text_file).split())


def make_overlays(config: OverlaysConfig, context: JobContext) -> JobSteps:
    """Draw the evidence of a mix's rewards over a clip.

    Result: `clip_id`, and `overlays`, "reward.name" by file name.
    """
    workspace, suite = context.store.workspace, open_suite(config.mix)
    clip = load_clip(workspace, config.clip_id)
    features = suite.features(clip)
    keys = [key for key, weight in suite.mix.weights.items() if weight > 0]
    pictures: dict[str, np.ndarray] = {}
    for step, key in enumerate(keys):
        yield JobProgress(phase="overlays", step=step, of=len(keys))
        drawn = suite.overlays(features, key)
        pictures |= {f"{key}.{name}": frames for name, frames in drawn.items()}
    return {"clip_id": config.clip_id, "overlays": save_overlays(workspace, config.clip_id, pictures, clip.fps)}


def score_each(clip_ids: Sequence[str], mix_key: str, store: Library) -> Scoring:
    """Score clips one by one, or in groups if a mix calls servers.

    A clip that cannot be scored does not stop the others; when no clip can be scored, the last error is raised.
    """
    suite = open_suite(mix_key)
    unscored: dict[str, str] = {}
    size = GROUP_CLIPS if suite.is_faster_together else 1
    for start in range(0, len(clip_ids), size):
        yield JobProgress(phase="score", step=start, of=len(clip_ids))
        part = clip_ids[start : start + size]
        if len(part) > 1 and _scored_together(suite, part, store):
            continue
        for clip_id in part:
            if why := score_one(suite, clip_id, store, must=len(unscored) == len(clip_ids) - 1):
                unscored[clip_id] = why
    return unscored


def _scored_together(suite: RewardSuite, clip_ids: Sequence[str], store: Library) -> bool:
    """Score clips in one call and save their reports. Return False if one cannot be scored."""
    try:
        reports = suite.score_group([load_clip(store.workspace, clip_id) for clip_id in clip_ids], clip_ids)
        for clip_id, report in zip(clip_ids, reports, strict=True):
            store.save_report(clip_id, suite.mix.key, report.to_dict())
    except DailiesError:
        return False
    return True


def open_suite(mix_key: str) -> RewardSuite:
    """Return the rewards of a mix, by the key of its preset. Raises ConfigError or RewardError."""
    return RewardSuite(load_preset("rewards", mix_key))


def score_one(suite: RewardSuite, clip_id: str, store: Library, *, must: bool = False) -> str:
    """Score a clip and save the report. Return "", or the error message when it cannot be scored.

    With `must` the error is raised instead.
    """
    try:
        report = suite.score(load_clip(store.workspace, clip_id), clip_id)
        store.save_report(clip_id, suite.mix.key, report.to_dict())
    except DailiesError as error:
        if must:
            raise
        return str(error)
    return ""
