"""`dailies completion SHELL`: print the script that completes `dailies` in a shell."""

import argparse
from pathlib import Path

import shtab

from app.command import PAGE_COMMANDS
from engine.cli.main import build_parser

SHELLS = ("bash", "zsh", "tcsh")


def build_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print a script that completes commands, options and file names. bash: write it to "
        "~/.local/share/bash-completion/completions/dailies; zsh: to _dailies in a folder of $fpath; tcsh: to a file "
        "that ~/.tcshrc sources."
    )
    parser.add_argument("shell", choices=SHELLS, help="shell to write the script for")
    parser.set_defaults(run=print_completion)


def print_completion(options: argparse.Namespace) -> None:
    parser = build_parser(PAGE_COMMANDS)
    _complete_paths(parser)
    print(shtab.complete(parser, shell=options.shell))


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Mark each argument that takes a path, so that the shell completes file names there."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in set(action.choices.values()):
                _complete_paths(inner)
        elif action.type is Path or action.dest == "workspace":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
