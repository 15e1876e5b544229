"""`dailies rewards`: list the rewards, measure them under known damage, and compare two sets of clips."""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from engine.cli.options.shared import shared_options
from engine.cli.terminal.output import print_json, print_table
from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.video.reader import VIDEO_SUFFIXES, read_video, videos_in
from rewards import REWARDS, RewardError, reward_spec
from rewards.clip import Clip
from rewards.matrix.measure import ReferenceSet, fill_matrix, read_set, set_of_clips
from rewards.matrix.rows import ALL_ROWS
from rewards.matrix.table import describe, to_data, to_markdown
from rewards.metrics.fvd_lite import frechet_of_sets

SHIPPED = ("seed", "motion", "long", "online", "semantic", "mini", "mini_train")
"""The mixes that come with Dailies; those of the user are not measured."""


def build_rewards(parser: argparse.ArgumentParser) -> None:
    shared = shared_options()
    verbs = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", parents=[shared], help="list the rewards with what they ask").set_defaults(run=list_rewards)
    matrix = verbs.add_parser(
        "matrix", parents=[shared], help="damage the reference clips in known ways and say what each reward made of it"
    )
    matrix.add_argument("--domain", choices=("real", "mini"), action="append", help="only these clips (default: both)")
    matrix.add_argument(
        "--clips", type=Path, metavar="FOLDER", help="the videos of a folder instead, none of them tuned on"
    )
    matrix.add_argument("--frames", type=int, default=48, metavar="N", help="the first N frames of each (default: 48)")
    matrix.add_argument("--row", action="append", metavar="DAMAGE", help="only this damage (default: all; minutes)")
    matrix.add_argument("--write", type=Path, metavar="FILE", help="also write the tables to this Markdown file")
    matrix.set_defaults(run=show_matrix)
    frechet = verbs.add_parser(
        "frechet", parents=[shared], help="Frechet video distance between two folders of clips, with its interval"
    )
    frechet.add_argument("first", type=Path, metavar="FOLDER", help="of videos")
    frechet.add_argument("second", type=Path, metavar="OTHER", help="of videos, such as real ones")
    frechet.add_argument(
        "--backend",
        choices=("i3d-logits", "i3d", "mini"),
        default="i3d-logits",
        help="the features: I3D's 400 logits as in published FVDs (default), its 1,024 pooled features, or mini's",
    )
    frechet.set_defaults(run=show_frechet)


def list_rewards(options: argparse.Namespace) -> None:
    specs = [reward_spec(key) for key in REWARDS]
    if options.json:
        print_json([{"key": spec.key, "title": spec.title, "question": spec.question} for spec in specs])
        return
    print_table(("key", "title", "asks"), [(spec.key, spec.title, spec.question) for spec in specs])


def show_frechet(options: argparse.Namespace) -> None:
    """Print the distance. Raises ConfigError for a folder without videos, RewardError for too few or too short ones."""
    result = frechet_of_sets(
        *(_clips_in(folder) for folder in (options.first, options.second)), backend=options.backend
    )
    if options.json:
        print_json(asdict(result))
        return
    print(
        f"{result.distance:.4g} (95 %: {result.low:.4g} to {result.high:.4g}), {result.num_first} against "
        f"{result.num_second} clips, by {result.backend}. It is larger for fewer clips: compare like with like."
    )


def _clips_in(folder: Path) -> list[Clip]:
    return list(_named_clips_in(folder).values())


def _named_clips_in(folder: Path) -> dict[str, Clip]:
    """Return the videos of a folder by file name. Raises ConfigError when there are none."""
    videos = videos_in(folder) if folder.is_dir() else []
    if not videos:
        raise ConfigError(f"'{folder}' is no folder of videos: give one with files of {', '.join(VIDEO_SUFFIXES)}.")
    return {path.name: Clip(frames=video.frames, fps=video.fps) for path in videos for video in [read_video(path)]}


def _sets(options: argparse.Namespace) -> list[ReferenceSet]:
    """Return the clips that the matrix damages: those of `--clips`, or the reference clips. Raises ConfigError."""
    if options.clips is None:
        return [read_set(domain) for domain in options.domain or ("real", "mini")]
    if options.domain or options.write:
        raise ConfigError("--clips measures other clips than the page shows: give it without --domain and --write.")
    if options.frames < 2:
        raise ConfigError(f"--frames must be 2 or more, but is {options.frames}.")
    return [set_of_clips(_named_clips_in(options.clips), options.frames)]


def show_matrix(options: argparse.Namespace) -> None:
    """Print the tables. Raises RewardError when a cell neither holds nor is explained."""
    logging.getLogger("rewards.matrix.measure").setLevel(logging.INFO)
    mixes = [load_preset("rewards", key) for key in SHIPPED]
    rows = options.row or tuple(ALL_ROWS)
    matrices = [matrix for reference in _sets(options) for matrix in fill_matrix(reference, mixes, rows)]
    text = to_markdown(matrices)
    if options.write:
        options.write.write_text(text, encoding="utf8")
    if options.json:
        print_json(to_data(matrices))
    else:
        print(text)
    broken = [cell for matrix in matrices for cell in matrix.broken]
    if broken:
        more = f" ({len(broken) - 1} more cells do not hold either.)" if len(broken) > 1 else ""
        raise RewardError(describe(broken[0]) + more)
