"""Videos for VBench, and its scores as measures of the evaluation.

The videos are made by a run's base model and by its trained weights.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.files.atomic import write_text_atomic
from engine.generation.context import Progress
from engine.model_spec import ModelFamily
from engine.request import GenerationRequest
from engine.runs.results import Evaluation, Interval, Measure
from engine.runs.run import Run
from engine.runs.vbench import VBenchScore, VBenchVideo, prompt_of
from engine.seeds import seed_for
from engine.training.evaluation.evaluate import SEED, Side, Sides, batches_of, plan_sides
from engine.training.evaluation.intervals import UNBOUNDED, change_interval, mean_interval, ratio_interval
from engine.video.writer import write_mp4

PREFIX = "vbench/"


def plan_videos(run: Run, videos: Sequence[VBenchVideo]) -> Sides:
    """Plan the suite's videos; a video has the same seed on both sides.

    Raises ConfigError as `plan_sides`.
    """

    def requests_of(template: GenerationRequest) -> list[GenerationRequest]:
        return [
            template.model_copy(
                update={
                    "prompt": video.prompt,
                    "seed": seed_for(SEED, prompt=f"VBench {video.prompt}", sample=video.index),
                }
            )
            for video in videos
        ]

    return plan_sides(run, requests_of)


def write_videos(
    family: ModelFamily, side: Side, videos: Sequence[VBenchVideo], folder: Path, origin: Mapping[str, Any]
) -> Generator[Progress, None, int]:
    """Write the side's videos that `folder` lacks, and return their number.

    `origin` identifies the clips and is kept in FOLDER.json: VBench takes the suffix of any file in the folder for that
    of the videos. Raises ConfigError when the folder holds videos of another
    origin.
    """
    _check_origin(folder, {**origin, **side.to_dict()})
    missing = [
        (video, request)
        for video, request in zip(videos, side.requests, strict=True)
        if not all((folder / file).is_file() for file in video.files)
    ]
    if not missing:
        return 0
    written = iter([video for video, _ in missing])
    wanted = replace(side, requests=tuple(request for _, request in missing))
    done = 0
    for batch in batches_of(family, wanted, folder.name):
        yield Progress(phase=folder.name, step=done, of=len(missing))
        for clip in batch():
            first, *others = [folder / file for file in next(written).files]
            for path in (first, *others):
                path.parent.mkdir(parents=True, exist_ok=True)
            for path in others:  # the first file last: without it the clip is made again
                write_mp4(path, clip.frames, clip.fps, scale=1)
            write_mp4(first, clip.frames, clip.fps, scale=1)
            done += 1
    return done


def add_scores(
    evaluation: Evaluation, before: Mapping[str, VBenchScore], after: Mapping[str, VBenchScore]
) -> Evaluation:
    """Return the evaluation with a measure "vbench/DIMENSION" for each dimension of both sides.

    Raises ConfigError when there is none.
    """
    shared = [name for name in after if name in before]
    if not shared:
        raise ConfigError(
            f"The results have no dimension in common: {', '.join(before) or 'none'} before and "
            f"{', '.join(after) or 'none'} after training."
        )
    kept = tuple(measure for measure in evaluation.measures if not measure.name.startswith(PREFIX))
    found = tuple(_measure(name, before[name], after[name]) for name in shared)
    return evaluation.model_copy(update={"measures": (*kept, *found)})


def _measure(dimension: str, before: VBenchScore, after: VBenchScore) -> Measure:
    names = sorted(before.videos.keys() & after.videos.keys())
    groups = [prompt_of(name) for name in names]
    first, second = ([side.videos[name] for name in names] for side in (before, after))
    if names:
        intervals = {
            "before": mean_interval(first, groups),
            "after": mean_interval(second, groups),
            "change": change_interval(first, second, groups),
            "ratio": ratio_interval(first, second, groups),
        }
    else:
        intervals = {
            "before": _without_bounds(before.score),
            "after": _without_bounds(after.score),
            "change": _without_bounds(after.score - before.score),
            "ratio": _without_bounds(after.score / max(before.score, 1e-9)),
        }
    return Measure(name=f"{PREFIX}{dimension}", role="held_out", wanted="up", unit="VBench score", **intervals)


def _without_bounds(mean: float) -> Interval:
    return Interval(mean=mean, low=-UNBOUNDED, high=UNBOUNDED, of=1)


def _check_origin(folder: Path, origin: Mapping[str, Any]) -> None:
    file = folder.with_name(f"{folder.name}.json")
    if not file.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds other files: choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(file, json.dumps(origin, indent=2) + "\n")
        return
    try:
        found = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}. Choose another folder.") from error
    if found != origin:
        raise ConfigError(f"{folder} holds videos of {found}, not of {dict(origin)}: choose another folder.")
