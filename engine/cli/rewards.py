"""`dailies rewards`: list the rewards, measure them under known damage, and compare two sets of clips."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_table
from engine.config.presets import load_preset
from engine.errors import ConfigError
from engine.video.reader import VIDEO_SUFFIXES, read_video, videos_in
from rewards import RewardError, known_rewards, reward_spec
from rewards.clip import Clip
from rewards.external.probe import run_probe
from rewards.external.registry import base_declaration
from rewards.matrix.measure import Filled, ReferenceSet, fill_matrix, read_set, set_of_clips
from rewards.matrix.rows import ALL_ROWS, HACKS
from rewards.matrix.table import attacks_to_markdown, describe, to_data, to_markdown
from rewards.metrics.fvd_lite import frechet_of_sets
from rewards.registry import reward_problems
from rewards.server.__main__ import add_server_options, serve_with
from rewards.server.run import mix_of

SHIPPED = ("seed", "motion", "long", "online", "semantic", "mini", "mini_train")
"""The mixes of Dailies; the user's mixes are not measured."""


def build_rewards(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("ls", list_rewards, help="list the rewards with their questions")
    matrix = verbs.add(
        "matrix", show_matrix, help="measure each reward's response to known damage of the reference clips"
    )
    _add_clips(matrix)
    matrix.add_argument(
        "--row", action="append", metavar="DAMAGE", help="measure only this damage (default: all, which takes minutes)"
    )
    matrix.add_argument("--write", type=Path, metavar="FILE", help="write the tables to this Markdown file")
    attack = verbs.add(
        "attack", show_attacks, help="compare the totals of clips that were made to cheat and of the honest ones"
    )
    _add_clips(attack)
    attack.add_argument(
        "--mix", nargs="+", action="extend", metavar="KEY", help="measure only these mixes (default: all of Dailies)"
    )
    attack.set_defaults(write=None)
    frechet = verbs.add(
        "frechet",
        show_frechet,
        help="Frechet video distance between two folders of clips, with its 95 percent interval",
    )
    frechet.add_argument("first", type=Path, metavar="FOLDER", help="folder of videos")
    frechet.add_argument(
        "second", type=Path, metavar="OTHER", help="folder of videos to compare with, such as real ones"
    )
    frechet.add_argument(
        "--backend",
        choices=("i3d-logits", "i3d", "mini"),
        default="i3d-logits",
        help="features: I3D's 400 logits as in published FVDs (default), its 1,024 pooled features, or mini's",
    )
    testing = verbs.add("test", test_reward, help="send the probe clip to an external reward, print answer and latency")
    testing.description = (
        "Send a fixed clip to an external reward and print its raw scores, values, model and latency, and the "
        "fingerprint of its declaration."
    )
    testing.add_argument("key", help="key of the declaration in external_rewards/, or of one of its scores")
    serving = verbs.add("serve", serve_rewards, help="serve rewards or a mix over HTTP")
    serving.description = (
        "Serve rewards over HTTP, so that a reward model has an environment or a machine of its own. A declaration "
        "with a table [http] uses it, see docs/rewards.md. `python -m rewards.server` needs only the package `rewards`."
    )
    serving.add_argument("keys", nargs="*", metavar="KEY", help="rewards to serve, built-in or declared")
    serving.add_argument("--mix", metavar="KEY", help="serve a mix, its total and its rewards")
    add_server_options(serving)


def _add_clips(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--domain", choices=("real", "mini"), action="append", help="reference clips of this domain (default: both)"
    )
    parser.add_argument(
        "--clips", type=Path, metavar="FOLDER", help="damage the videos of a folder instead of the reference clips"
    )
    parser.add_argument(
        "--frames", type=int, default=48, metavar="N", help="use the first N frames of each clip (default: 48)"
    )


def list_rewards(options: argparse.Namespace) -> None:
    specs = [reward_spec(key) for key in known_rewards()]
    if options.json:
        print_json([{"key": spec.key, "title": spec.title, "question": spec.question} for spec in specs])
        return
    print_table(("key", "title", "asks"), [(spec.key, spec.title, spec.question) for spec in specs])
    for problem in reward_problems().values():
        print(problem, file=sys.stderr)


def test_reward(options: argparse.Namespace) -> None:
    """Print the answer to the probe; exit code 1 when there is none.

    Raises RewardError for an unknown key.
    """
    declaration = base_declaration(options.key)
    result = run_probe(declaration.reward_keys[0])
    options.exit_code = int(bool(result.error))
    if options.json:
        print_json(asdict(result))
        return
    print(f"{declaration.title} ({result.kind}, {result.address}): {result.identity}")
    for key, raw in result.scores.items():
        print(f"{key:<28} {'no score' if raw is None else f'{raw:.6g}'}")
    if result.error:
        print(result.error, file=sys.stderr)
    print(f"{result.seconds:.3f} s, declaration {result.declared}")


def serve_rewards(options: argparse.Namespace) -> None:
    """Serve until interrupted.

    Raises ConfigError for neither or both of rewards and a mix, RewardError as `serve`.
    """
    if bool(options.keys) == bool(options.mix):
        raise ConfigError("Name rewards to serve or a --mix, one of the two; `dailies rewards ls` lists the rewards.")
    serve_with(load_preset("rewards", options.mix) if options.mix else mix_of(options.keys), options)


def show_frechet(options: argparse.Namespace) -> None:
    """Print the distance.

    Raises ConfigError for a folder without videos, RewardError for too few or too short ones.
    """
    result = frechet_of_sets(
        *(_clips_in(folder) for folder in (options.first, options.second)), backend=options.backend
    )
    if options.json:
        print_json(asdict(result))
        return
    print(
        f"{result.distance:.4g} (95 %: {result.low:.4g} to {result.high:.4g}), {result.num_first} against "
        f"{result.num_second} clips, by {result.backend}. The distance grows with fewer clips: compare equal numbers."
    )


def _clips_in(folder: Path) -> list[Clip]:
    return list(_named_clips_in(folder).values())


def _named_clips_in(folder: Path) -> dict[str, Clip]:
    """Return the videos of a folder by file name. Raises ConfigError when there are none."""
    videos = videos_in(folder) if folder.is_dir() else []
    if not videos:
        raise ConfigError(f"'{folder}' is not a folder of videos: name one with files of {', '.join(VIDEO_SUFFIXES)}.")
    return {path.name: Clip(frames=video.frames, fps=video.fps) for path in videos for video in [read_video(path)]}


def _sets(options: argparse.Namespace) -> list[ReferenceSet]:
    """Return the clips that the matrix damages: those of `--clips`, or the reference clips.

    Raises ConfigError.
    """
    if options.clips is None:
        return [read_set(domain) for domain in options.domain or ("real", "mini")]
    if options.domain or options.write:
        raise ConfigError("--clips cannot be combined with --domain or --write, which are for the reference clips.")
    if options.frames < 2:
        raise ConfigError(f"--frames must be 2 or more, but is {options.frames}.")
    return [set_of_clips(_named_clips_in(options.clips), options.frames)]


def show_matrix(options: argparse.Namespace) -> None:
    """Print the tables. Raises RewardError when a cell does not hold and has no recorded explanation."""
    matrices = _measure(options, SHIPPED, options.row or tuple(ALL_ROWS))
    text = to_markdown(matrices)
    if options.write:
        options.write.write_text(text, encoding="utf8")
    _print_and_check(options, matrices, text)


def show_attacks(options: argparse.Namespace) -> None:
    """Print the change of each total under each attack.

    Raises RewardError when an attack beats the honest clip and there is no recorded explanation, and for a mix that
    does not exist.
    """
    matrices = [replace(m, cells=m.totals) for m in _measure(options, options.mix or SHIPPED, HACKS)]
    _print_and_check(options, matrices, attacks_to_markdown(matrices))


def _measure(options: argparse.Namespace, mixes: Sequence[str], rows: Sequence[str]) -> list[Filled]:
    logging.getLogger("rewards.matrix.measure").setLevel(logging.INFO)
    read = [load_preset("rewards", key) for key in mixes]
    return [matrix for reference in _sets(options) for matrix in fill_matrix(reference, read, rows)]


def _print_and_check(options: argparse.Namespace, matrices: Sequence[Filled], text: str) -> None:
    if options.json:
        print_json(to_data(matrices))
    else:
        print(text)
    broken = [cell for matrix in matrices for cell in matrix.broken]
    if broken:
        more = f" ({len(broken) - 1} more cells do not hold.)" if len(broken) > 1 else ""
        raise RewardError(describe(broken[0]) + more)
