"""`dailies`: the workbench without a browser. `dailies COMMAND --help` explains each command.

Exit code 0: done. 1: done in part, some of the videos could not be scored. 2: wrong usage, or something failed that
the one sentence on stderr explains. 130: interrupted.
"""

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from engine.cli import adapters, campaigns, database, generate, jobs, learning, presets, rewards, runs, train, weights
from engine.errors import ConfigError, DailiesError

EPILOG = "Exit code: 0 done, 1 done in part, 2 wrong usage or a failure that is explained on stderr, 130 interrupted."

MODULES = (
    adapters,
    campaigns,
    database,
    generate,
    jobs,
    learning,
    presets,
    rewards,
    runs,
    train,
    weights,
)

Command = Callable[[argparse.Namespace], None]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence, like every other."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; `{self.prog} --help` explains it.")


def build_parser() -> Parser:
    """All commands. Imports nothing that takes long: `--help` answers at once."""
    parser = Parser(prog="dailies", description="Generate, score and manage clips from a shell.", epilog=EPILOG)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    shared.add_argument(
        "--workspace", metavar="DIR", help="folder of clips and jobs (default: $DAILIES_WORKSPACE or ./workspace)"
    )
    for module in MODULES:
        module.add_commands(commands, shared)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no failure
    try:
        options = build_parser().parse_args(argv)
        if getattr(options, "workspace", None):
            os.environ["DAILIES_WORKSPACE"] = options.workspace  # its presets count too
        run: Command = options.run
        run(options)
        sys.stdout.flush()
        return int(getattr(options, "exit_code", 0))
    except DailiesError as error:
        print(f"dailies: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dailies: interrupted; what was finished is kept.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough; Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
