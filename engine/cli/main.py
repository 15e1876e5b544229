"""`dailies`: the workbench without a browser. `dailies COMMAND --help` explains each command.

Exit code 0: done. 1: done in part, some of the videos could not be scored. 2: wrong usage, or a failure that one
sentence on stderr explains. 130: interrupted.
"""

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from engine.cli.commands import COMMANDS, CliCommand
from engine.errors import ConfigError, DailiesError
from rewards.import_object import import_object

EPILOG = "Exit code: 0 done, 1 done in part, 2 wrong usage or a failure (see stderr), 130 interrupted."


class Parser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one sentence and imports its command when first used."""

    def __init__(self, *args: Any, builder: str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._builder = builder

    def add_command_arguments(self) -> None:
        """Import the command's module and let it add its arguments; do nothing the second time."""
        if self._builder is not None:
            build, self._builder = import_object(self._builder), None
            build(self)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.add_command_arguments()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`.")


def build_parser(extra_commands: Sequence[CliCommand] = ()) -> Parser:
    """Return the parser of all commands, each with its arguments."""
    parser, commands = _build_top_level(extra_commands)
    for command in commands:
        command.add_command_arguments()
    return parser


def _build_top_level(extra_commands: Sequence[CliCommand]) -> tuple[Parser, list[Parser]]:
    """Return the main parser and the commands' parsers, without arguments and without importing commands."""
    parser = Parser(
        prog="dailies",
        description="RL fine-tuning of text-to-video models: generate, score, label, train and evaluate.",
        epilog=EPILOG,
    )
    choices = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    table = (*COMMANDS, *extra_commands)
    return parser, [choices.add_parser(entry.name, help=entry.help, builder=entry.builder) for entry in table]


def main(argv: Sequence[str] | None = None, extra_commands: Sequence[CliCommand] = ()) -> int:
    """Run one command of `COMMANDS` or of `extra_commands`, and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)  # it warns of how torchao registers its classes
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal cannot show must not be an error
    try:
        parser, _ = _build_top_level(extra_commands)
        options = parser.parse_args(argv)
        if getattr(options, "workspace", None):
            os.environ["DAILIES_WORKSPACE"] = options.workspace  # its presets are used, too
        run: Callable[[argparse.Namespace], None] = options.run
        run(options)
        sys.stdout.flush()
        return int(getattr(options, "exit_code", 0))
    except KeyboardInterrupt:
        print("dailies: interrupted; finished results are kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, a pager) has closed the pipe; Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DailiesError as error:
        print(f"dailies: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
