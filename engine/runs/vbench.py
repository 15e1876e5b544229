"""Names of videos and results of VBench and VBench-2.0. Imports no torch.

Sources: arXiv:2311.17982, arXiv:2503.21755. A suite is the benchmark's own `VBench_full_info.json` or
`VBench2_full_info.json`. Video names and counts are those of the benchmarks' instructions: five a prompt in one folder,
or three (for Diversity 20) in a folder for each dimension, named after the prompt's first 180 characters.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import ConfigError
from engine.files.text_files import json_value
from rewards.errors import did_you_mean

VIDEOS, VIDEOS_2, DIVERSITY_VIDEOS = 5, 3, 20
NAME_LENGTH_2 = 180
PERCENT = 0.01
"""Some versions of a dimension give its videos in percent and its score in 0..1."""


@dataclass(frozen=True, slots=True)
class VBenchVideo:
    """A video of the suite: the sample `index` of a prompt.

    It is written to the files, which are relative to a folder.
    """

    prompt: str
    index: int
    files: tuple[PurePosixPath, ...]


@dataclass(frozen=True, slots=True)
class VBenchSuite:
    """Prompts of a benchmark with their dimensions. `is_second`: VBench-2.0."""

    prompts: tuple[tuple[str, tuple[str, ...]], ...]
    is_second: bool

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions in the order of the file."""
        return tuple(dict.fromkeys(name for _, names in self.prompts for name in names))

    def videos(self, dimensions: Sequence[str] = ()) -> list[VBenchVideo]:
        """Return the videos of the dimensions (none: of all). Raises ConfigError for an unknown dimension."""
        for name in dimensions:
            if name not in self.dimensions:
                raise ConfigError(f"The suite has no dimension {name!r}. {did_you_mean(name, self.dimensions)}")
        wanted = set(dimensions or self.dimensions)
        files: dict[tuple[str, int], dict[PurePosixPath, None]] = defaultdict(dict)
        for prompt, names in self.prompts:
            for dimension in (name for name in names if name in wanted):
                for index in range(self._count(dimension)):
                    files[prompt, index][self._file(prompt, index, dimension)] = None
        return [VBenchVideo(prompt, index, tuple(paths)) for (prompt, index), paths in files.items()]

    def _count(self, dimension: str) -> int:
        if not self.is_second:
            return VIDEOS
        return DIVERSITY_VIDEOS if dimension == "Diversity" else VIDEOS_2

    def _file(self, prompt: str, index: int, dimension: str) -> PurePosixPath:
        if not self.is_second:
            return PurePosixPath(f"{prompt}-{index}.mp4")
        return PurePosixPath(dimension, f"{prompt[:NAME_LENGTH_2]}-{index}.mp4")


@dataclass(frozen=True, slots=True)
class VBenchScore:
    """Score of a dimension, and those of its videos by file name, where VBench gives a number for each."""

    score: float
    videos: Mapping[str, float]


def read_suite(path: Path) -> VBenchSuite:
    """Read a benchmark's full-info file. Raises ConfigError for another file."""
    rows = json_value(path)
    prompts: list[tuple[str, tuple[str, ...]]] = []
    for row in rows if isinstance(rows, list) else ():
        prompt, names = (row.get("prompt_en"), row.get("dimension")) if isinstance(row, dict) else (None, None)
        if not isinstance(prompt, str) or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            prompts = []
            break
        if "/" in prompt or "\0" in prompt:
            raise ConfigError(f"{path} has a prompt that cannot be the name of a file: {prompt[:80]!r}.")
        prompts.append((prompt, tuple(names)))
    if not prompts:
        raise ConfigError(
            f"{path} is no list of prompts with 'prompt_en' and 'dimension': name VBench_full_info.json or "
            "VBench2_full_info.json of your VBench installation."
        )
    suite = VBenchSuite(tuple(prompts), is_second=False)
    return VBenchSuite(suite.prompts, is_second=all(name[:1].isupper() for name in suite.dimensions))


def read_scores(paths: Iterable[Path]) -> dict[str, VBenchScore]:
    """Read `*_eval_results.json` files; a later file replaces dimensions of an earlier one.

    Raises ConfigError for another file.
    """
    scores: dict[str, VBenchScore] = {}
    for path in paths:
        found = json_value(path)
        if not isinstance(found, dict) or not found:
            raise ConfigError(f"{path} has no results by dimension: name an _eval_results.json of VBench.")
        for dimension, result in found.items():
            scores[dimension] = _score(path, dimension, result)
    return scores


def prompt_of(name: str) -> str:
    """Return the prompt, or its first characters, from the name of a video file."""
    return Path(name).stem.rpartition("-")[0]


def _score(path: Path, dimension: str, result: Any) -> VBenchScore:
    if isinstance(result, list) and result and _is_number(result[0]):
        score, rows = float(result[0]), result[1] if len(result) > 1 else []
        videos = {
            PurePosixPath(str(row["video_path"]).replace("\\", "/")).name: float(row["video_results"])
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and "video_path" in row and _is_number(row.get("video_results"))
        }
        return VBenchScore(score, _in_unit_of(score, videos))
    if _is_number(result):
        return VBenchScore(float(result), {})
    raise ConfigError(f"{path} gives no score for {dimension!r}: name an _eval_results.json of VBench.")


def _in_unit_of(score: float, videos: Mapping[str, float]) -> dict[str, float]:
    """Return the videos' values in the unit of the score, or none when their mean is not the score."""
    if not videos:
        return {}
    mean = sum(videos.values()) / len(videos)
    for scale in (1.0, PERCENT):
        if abs(mean * scale - score) <= 1e-3 * max(1.0, abs(score)):
            return {name: value * scale for name, value in videos.items()}
    return {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)  # a bool too: some dimensions give one for each video
