"""`dailies runs export-tensorboard`: a run's metrics, and the clips of its samples, for those who use TensorBoard."""

import argparse
import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from engine.cli.output import print_json

if TYPE_CHECKING:
    from pathlib import Path

    from engine.runs.run import Run

NOT_PLOTTED = ("step", "at", "of")
WRITERS = ("torch.utils.tensorboard", "tensorboardX")


def add_command(listing: Any, shared: argparse.ArgumentParser) -> None:
    export = listing.add_parser("export-tensorboard", parents=[shared], help="write a run's metrics for TensorBoard")
    export.add_argument("run_id", metavar="RUN", help="see `dailies runs ls`")
    export.add_argument("--out", metavar="DIR", help="folder to write to (default: tensorboard/RUN in the workspace)")
    export.set_defaults(run=export_run)


def export_run(options: argparse.Namespace) -> None:
    from pathlib import Path

    from engine.runs.run import Run
    from engine.workspace import Workspace

    workspace = Workspace.from_env(options.workspace)
    run = Run.find(workspace, options.run_id)
    folder = Path(options.out) if options.out else workspace.tensorboard / run.id
    written = write_events(run, folder)
    if options.json:
        print_json({"run": run.id, "folder": str(folder), "values": written})
    else:
        print(f"{written:,} values of {run.id} are in {folder}. `tensorboard --logdir {folder.parent}` shows them.")


def write_events(run: "Run", folder: "Path") -> int:
    """Write every metric at its step and moment; how many values that were. Raises ConfigError without a writer."""
    rows = run.metrics()
    writer = open_writer(folder)
    values = 0
    for row in rows:
        for name, value in row.items():
            if name not in NOT_PLOTTED:
                writer.add_scalar(name, value, int(row["step"]), walltime=row.get("at"))
                values += 1
    writer.close()
    return values


def open_writer(folder: "Path") -> Any:
    """PyTorch's writer, or tensorboardX's. Raises ConfigError, saying what to install, where there is neither."""
    from engine.errors import ConfigError

    for library in WRITERS:
        with suppress(ImportError):
            return importlib.import_module(library).SummaryWriter(str(folder))
    raise ConfigError(
        "Nothing here can write TensorBoard's files: `pip install tensorboard`, or tensorboardX, and try again."
    )
