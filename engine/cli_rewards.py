"""`dailies rewards`: which rewards there are, and what known damage does to them."""

import argparse
import logging
from pathlib import Path
from typing import Any

from engine.cli_output import print_json, print_table


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    rewards = commands.add_parser("rewards", help="list the rewards, and measure them under known damage")
    verbs = rewards.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)
    verbs.add_parser("ls", parents=[shared], help="list the rewards with what they ask").set_defaults(run=list_rewards)
    matrix = verbs.add_parser(
        "matrix", parents=[shared], help="damage the reference clips in known ways and say what each reward made of it"
    )
    matrix.add_argument("--domain", choices=("real", "mini"), action="append", help="only these clips (default: both)")
    matrix.add_argument("--row", action="append", metavar="DAMAGE", help="only this damage (default: all; minutes)")
    matrix.add_argument("--write", type=Path, metavar="FILE", help="also write the tables to this Markdown file")
    matrix.set_defaults(run=show_matrix)


def list_rewards(options: argparse.Namespace) -> None:
    from rewards import REWARDS, reward_spec

    specs = [reward_spec(key) for key in REWARDS]
    if options.json:
        print_json([{"key": spec.key, "title": spec.title, "question": spec.question} for spec in specs])
        return
    print_table(("key", "title", "asks"), [(spec.key, spec.title, spec.question) for spec in specs])


def show_matrix(options: argparse.Namespace) -> None:
    """Prints the tables, and fails when a cell neither holds nor is explained."""
    from engine.config.presets import load_preset
    from rewards import RewardError
    from rewards.matrix import ROWS, fill_matrix, read_set
    from rewards.matrix_table import describe, to_data, to_markdown

    logging.getLogger("rewards.matrix").setLevel(logging.INFO)
    mixes = [load_preset("rewards", key) for key in ("seed", "motion", "long", "mini")]
    domains = options.domain or ("real", "mini")
    filled = [one for domain in domains for one in fill_matrix(read_set(domain), mixes, options.row or tuple(ROWS))]
    text = to_markdown(filled)
    if options.write:
        options.write.write_text(text, encoding="utf8")
    if options.json:
        print_json(to_data(filled))
    else:
        print(text)
    broken = [cell for one in filled for cell in one.broken]
    if broken:
        more = f" ({len(broken) - 1} more cells do not hold either.)" if len(broken) > 1 else ""
        raise RewardError(describe(broken[0]) + more)
