"""The `dailies` command: the commands of `engine.cli`, and those that need the page or the checkout."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code. Imports neither gradio nor torch for `--help`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["serve"], ["users"]):
        from app.__main__ import main as serve

        return serve(words[words[0] == "serve" :])
    if words[:1] == ["tour"]:
        return _tour(words[1:])
    from engine.cli.main import main as run_command

    return run_command(words)


def _tour(words: Sequence[str]) -> int:
    """Run the tour, which is part of the checkout and not of the installed package."""
    if importlib.util.find_spec("examples") is None or importlib.util.find_spec("examples.tour") is None:
        print(
            "dailies: The tour is part of the source checkout, not of the installed package: clone the repository and "
            "run `make tour`.",
            file=sys.stderr,
        )
        return 2
    tour = importlib.import_module("examples.tour.__main__")
    return int(tour.main(words) or 0)


if __name__ == "__main__":
    sys.exit(main())
