"""What the jobs around scoring do: clips of the library, one file, a folder of them, and pictures of what rewards saw.

What is scored is kept at once, clip by clip: a job that is cut short, and filed again, does only the rest.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.config.presets import load_preset
from engine.data.clip_files import load_clip, save_overlays
from engine.data.imports import import_clip
from engine.data.store import Store
from engine.data.uploads import discard_upload
from engine.errors import ConfigError, DailiesError, MediaError
from engine.generation.video_io import videos_in
from engine.jobs.context import JobContext
from engine.jobs.kinds import Run
from engine.jobs.spec import JobProgress, OverlaysConfig, ScoreConfig, ScoreFolderConfig

if TYPE_CHECKING:
    from rewards.suite import RewardSuite

Scoring = Generator[JobProgress, None, dict[str, str]]


def score_clips(config: ScoreConfig, context: JobContext) -> Run:
    """Score clips of the library, or import a file first. Result: `clip_ids`, and `unscored` a sentence by clip id."""
    clip_ids = list(config.clip_ids)
    if config.path is not None:
        yield JobProgress(phase="import")
        clip_ids = [import_clip(context.store, config.path, config.prompt).id]
        discard_upload(context.store.workspace, config.path)
    unscored = yield from score_each(clip_ids, config.mix, context.store)
    return {"clip_ids": clip_ids, "unscored": unscored}


def score_folder(config: ScoreFolderConfig, context: JobContext) -> Run:
    """Import and score a folder's videos; what this mix has scored already stays as it is.

    Result: `clip_ids`, `unscored` a sentence by clip id, `unread` a sentence by file name. A video that cannot be read
    does not stop the others; if none can, the first one's error is raised.
    """
    store, videos, suite = context.store, videos_in(config.folder), open_suite(config.mix)
    clip_ids: list[str] = []
    unscored: dict[str, str] = {}
    unread: dict[str, str] = {}
    for step, path in enumerate(videos):
        yield JobProgress(phase="score", step=step, of=len(videos))
        try:
            clip_ids.append(import_clip(store, path, prompt_of(path, config.prompt)).id)
        except (MediaError, ConfigError) as error:
            unread[path.name] = str(error)
            if len(unread) == len(videos):
                raise
            continue
        if store.report(clip_ids[-1], config.mix) is None and (why := score_one(suite, clip_ids[-1], store)):
            unscored[clip_ids[-1]] = why
    discard_upload(store.workspace, config.folder / "any")
    return {"clip_ids": clip_ids, "unscored": unscored, "unread": unread}


def prompt_of(path: Path, otherwise: str) -> str:
    """What a video shows: the text beside it, if there is one. Raises ConfigError when that cannot be read."""
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return otherwise
    try:
        return " ".join(beside.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The prompt in {beside} cannot be read ({error}): save it as UTF-8 text.") from error


def make_overlays(config: OverlaysConfig, context: JobContext) -> Run:
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


def score_each(clip_ids: Sequence[str], mix_key: str, store: Store) -> Scoring:
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


def score_one(suite: "RewardSuite", clip_id: str, store: Store, *, must: bool = False) -> str:
    """Score a clip and keep the report; "" or the sentence why it cannot be scored, which is raised when it `must`."""
    try:
        report = suite.score(load_clip(store.workspace, clip_id), clip_id)
        store.save_report(clip_id, suite.mix.key, report.to_dict())
    except DailiesError as error:
        if must:
            raise
        return str(error)
    return ""
