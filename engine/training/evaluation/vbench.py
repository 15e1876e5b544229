"""Videos for VBench.

The videos are made by a run's base model and by its trained weights.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.family_interface import ModelFamily
from engine.files.atomic import write_text_atomic
from engine.generation.context import Progress
from engine.request import GenerationRequest
from engine.runs.run import Run
from engine.runs.vbench import VBenchVideo
from engine.seeds import seed_for
from engine.training.evaluation.evaluate import SEED, Side, Sides, batches_of, plan_sides
from engine.video.writer import write_mp4


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
