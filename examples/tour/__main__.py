"""Run the guided tour on `mini` in one workspace and write its report; an interrupted tour resumes.

Exit codes: 0 when done, 2 after an error that one sentence on stderr explains, 130 when interrupted. Run the same
command again to resume.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from engine.errors import ConfigError, DailiesError
from engine.workspace import Workspace
from examples.tour.settings import load_tour
from examples.tour.state import TourFiles

FOLDERS = {"full": Path("build/tour"), "short": Path("build/tour-short")}


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.tour", description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="take about three minutes; shows that it works, not how well"
    )
    parser.add_argument("--report", action="store_true", help="only write the report of the existing tour again")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help="default: build/tour, or build/tour-short")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = read_options(argv)
    signal.signal(signal.SIGTERM, interrupt)
    name = "short" if options.short else "full"
    files = TourFiles(Workspace(options.workspace or FOLDERS[name]))
    os.environ["DAILIES_WORKSPACE"] = str(files.workspace.root)  # also for its presets and for child processes
    os.environ.setdefault("DAILIES_TRACKIO", "0")  # the report reads the files of the runs instead
    os.environ.pop("DAILIES_DATABASE_URL", None)  # the tour keeps everything in its workspace
    try:
        make(files, name, only_report=options.report)
    except DailiesError as error:
        print(f"tour: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tour: interrupted. Finished steps are kept; run the same command again to resume.", file=sys.stderr)
        return 130
    return 0


def make(files: TourFiles, name: str, *, only_report: bool) -> None:
    from examples.tour.report import write_report

    if only_report:
        if files.journal() is None:
            raise ConfigError(f"There is no tour in {files.workspace.root} to report on. Run the tour first.")
    else:
        from examples.tour.driving import drive

        files.workspace.prepare()
        drive(files, load_tour(name))
    write_report(files)
    print(f"Report written to {files.report}", flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM like Ctrl-C, so that a training saves a checkpoint before it ends."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
