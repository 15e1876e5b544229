"""The `dailies` command: the commands of `engine.cli`, and those that need the page or the checkout."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from engine.cli.commands import CliCommand
from engine.cli.main import main as run_command
from engine.package_data import IMPORT_ROOT
from rewards.import_object import import_object

SERVE = "app.__main__:main"  # a string, because that module imports the page's modules
PAGE_COMMANDS = (
    CliCommand("serve", "serve the page (also: python -m app)", "app.__main__:build_serve"),
    CliCommand("users", "add, remove and list the users of the page", "app.users_command:build_users"),
    CliCommand("tour", "run the guided tour on mini (in a checkout only)", "app.command:take_all_arguments"),
    CliCommand("completion", "print a script that completes commands in a shell", "app.completion:build_completion"),
)
NO_TOUR = (
    "dailies: The tour is part of the source checkout, not of the installed package: clone the repository and run "
    "`make tour`."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Imports neither gradio nor torch for `--help`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["serve"], ["users"]):
        return int(import_object(SERVE)(words[words[0] == "serve" :]))
    if words[:1] == ["tour"]:
        return _run_tour(words[1:])
    return run_command(words, PAGE_COMMANDS)


def take_all_arguments(parser: argparse.ArgumentParser) -> None:
    """Leave the arguments to the command's own parser; `main` calls it before this one is built."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def _run_tour(words: Sequence[str]) -> int:
    if not (IMPORT_ROOT / "examples" / "tour").is_dir():
        print(NO_TOUR, file=sys.stderr)
        return 2
    sys.path.insert(0, str(IMPORT_ROOT))  # an editable install finds the packages of the wheel only
    tour = importlib.import_module("examples.tour.__main__")
    return int(tour.main(words) or 0)


if __name__ == "__main__":
    sys.exit(main())
