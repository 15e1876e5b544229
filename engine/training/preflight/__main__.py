"""Run a run's preflight without starting it: `python -m engine.training.preflight RUN_FOLDER`.

The checks are written to the run's `preflight.json`.

Exit code 0: the checks were made, with any result. 2: the preset cannot be built; the last line of output is the cause.
"""

import argparse
import sys
from pathlib import Path

from engine.errors import DailiesError
from engine.families.loading import is_memory_full
from engine.runs.run import Run
from engine.training.build import build_trainer
from engine.training.main import out_of_memory_message
from engine.training.preflight.checks import run_checks, save


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder")
    run = Run(parser.parse_args().run.resolve())
    try:
        preset = run.preset()
        save(run_checks(preset, build_trainer(preset, run)), run)
    except DailiesError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (RuntimeError, MemoryError) as error:
        if not is_memory_full(error):
            raise
        sys.stderr.write(f"{out_of_memory_message(run.preset(), None)}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
