"""Options of several commands: `--json`, `--workspace`, `--variations` and `--set`; the verbs of a command."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from engine.errors import ConfigError


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument(
        "--workspace", metavar="DIR", help="folder of clips and jobs (default: $DAILIES_WORKSPACE or ./workspace)"
    )


def shared_options() -> argparse.ArgumentParser:
    """Return a parser of the shared options, to be passed as one of the `parents` of a verb's parser."""
    parser = argparse.ArgumentParser(add_help=False)
    add_shared_options(parser)
    return parser


class Verbs:
    """The verbs of a command, such as `ls` of `dailies models`; each has the shared options."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._choices = parser.add_subparsers(title="commands", dest="verb", metavar="COMMAND", required=True)

    def add(
        self, name: str, run: Callable[[argparse.Namespace], None], *, help: str, description: str | None = None
    ) -> argparse.ArgumentParser:
        """Return the parser of a new verb, which is executed by `run`."""
        parser = self._choices.add_parser(name, parents=[shared_options()], help=help, description=description)
        parser.set_defaults(run=run)
        return parser


def add_settings(parser: argparse.ArgumentParser, description: str = "change a setting, as in `dailies train`") -> None:
    """Add `--set`, see `read_setting`."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=description)


def add_variations(parser: argparse.ArgumentParser, default: int, description: str) -> None:
    """Add `--variations` and its former name `--takes`."""
    parser.add_argument(
        "--variations", type=int, default=default, metavar="N", help=f"{description} (default: {default})"
    )
    parser.add_argument("--takes", type=int, dest="variations", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def read_setting(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE; a value that is not JSON is a string. Raises ConfigError otherwise."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set takes KEY=VALUE, but got '{text}'.")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
